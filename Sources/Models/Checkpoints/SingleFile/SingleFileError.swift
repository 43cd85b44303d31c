// SPDX-License-Identifier: Apache-2.0
// Single files that give no pipeline, with their texts.

import Files

/// A safetensors file that is not a Stable Diffusion checkpoint, or one that does not fit together.
public enum SingleFileError: Error, Equatable, Sendable {
    /// A model of another kind.
    case otherModel(file: String, name: String)
    /// The tensors have the names of diffusers or transformers: the file of one component, whose config is beside it.
    case componentFile(file: String)
    /// None of the names that a Stable Diffusion checkpoint has; `keys` are those of the file.
    case unknown(file: String, keys: [String])
    /// Tensors within a component that no such component has.
    case unknownKeys(file: String, component: String, keys: [String])
    /// The tensors of a component do not form a network that configs describe.
    case layout(file: String, component: String, reason: String)
    /// The prediction type that was asked for does not exist.
    case predictionType(found: String)
}

extension SingleFileError: CategorizedError {
    public var category: ErrorCategory {
        if case .predictionType = self { .usage } else { .badData }
    }

    public var description: String {
        switch self {
        case .otherModel(let file, let name):
            "\(file): \(name); supported are checkpoints of Stable Diffusion 1.x, 2.x and SDXL base"
        case .componentFile(let file):
            "\(file): the weights of one component in diffusers' names; give the path of its folder, with config.json"
        case .unknown(let file, let keys):
            "\(file): not a Stable Diffusion checkpoint: expected model.diffusion_model.input_blocks..., found "
                + (keys.isEmpty ? "no tensors" : listed(keys))
        case .unknownKeys(let file, let component, let keys):
            "\(file): \(counted(keys.count, "tensor")) that a \(component) does not have: \(listed(keys)); the "
                + "checkpoint is of another model"
        case .layout(let file, let component, let reason):
            "\(file): \(component): \(reason); the checkpoint is incomplete or of another model"
        case .predictionType(let found):
            "prediction type: expected epsilon or v_prediction, found \(found)"
        }
    }
}
