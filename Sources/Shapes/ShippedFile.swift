// SPDX-License-Identifier: Apache-2.0
// The files that come with the library, in the resource bundle that SwiftPM builds from Sources/Shapes/Resources. The
// manifest lists them one by one, since a copied folder is not copied again when a file in it changes.

import Foundation

/// A file in the library's resources.
public enum ShippedFile: String, CaseIterable, Sendable {
    /// The encoder that scores pictures of the shapes world against captions; made by `Configs/clip-proxy.yaml`.
    case clipProxy = "clip-proxy.h5"

    /// Where the file lies.
    ///
    /// - Throws: `ShippedFileError` where the resources next to the program are not complete.
    public func path() throws(ShippedFileError) -> String {
        guard let folder = Bundle.module.resourceURL else { throw .missing(name: rawValue, folder: "") }
        let file = folder.appending(path: rawValue)
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw .missing(name: rawValue, folder: folder.path)
        }
        return file.path
    }
}

/// Why a shipped file cannot be used.
public enum ShippedFileError: Error, Equatable, Sendable, CustomStringConvertible {
    /// `name` does not lie in the resources at `folder`.
    case missing(name: String, folder: String)

    public var description: String {
        switch self {
        case .missing(let name, let folder):
            "shipped file \(name): not in \(folder); keep the program's .resources folder next to it, or install it again"
        }
    }
}
