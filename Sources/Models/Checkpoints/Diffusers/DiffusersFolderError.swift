// SPDX-License-Identifier: Apache-2.0
// Folders that are not written to.

import Files

/// An existing folder that is not written to.
public enum DiffusersFolderError: Error, Equatable, Sendable {
    /// The folder is not empty; `file` is one of its entries.
    case notEmpty(folder: String, file: String)
    /// One component by itself in the folder of a pipeline, whose `model_index.json` hides it.
    case pipelineFolder(folder: String, component: String)
}

extension DiffusersFolderError: CategorizedError {
    public var category: ErrorCategory { .usage }

    public var description: String {
        switch self {
        case .notEmpty(let folder, let file):
            "\(folder): not empty (\(file)); pass --overwrite to replace files in it, or choose another --output"
        case .pipelineFolder(let folder, let component):
            "\(folder): has the model_index.json of a pipeline; choose another --output, such as "
                + "\(folder)/\(component)"
        }
    }
}
