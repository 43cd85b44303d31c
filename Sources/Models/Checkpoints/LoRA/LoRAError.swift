// SPDX-License-Identifier: Apache-2.0
// LoRA files that cannot be used, with their texts.

import Files

/// A LoRA file that is not supported, damaged, or made for another model.
public enum LoRAError: Error, Equatable, Sendable {
    /// The file has no tensor of a LoRA.
    case notLoRA(file: String, keys: [String])
    /// A kind of adapter that is not supported, with the key that tells.
    case unsupported(file: String, format: String, key: String)
    /// Tensors of layers that the model does not have.
    case unmatched(file: String, keys: [String])
    /// Two groups of tensors are for the same weight.
    case duplicate(file: String, layer: String, key: String)
    /// A layer lacks one of its matrices.
    case incomplete(file: String, layer: String, missing: String)
    /// The matrices of a layer do not give a matrix of the weight's shape.
    case shape(file: String, layer: String, weight: [Int], up: [Int], down: [Int])
    /// An alpha that is not one finite number.
    case alpha(file: String, layer: String)
    /// A layer that the file does not have, because it has cached time features.
    case cachedLayer(file: String, layer: String)
    /// The weight to merge with is not finite.
    case weight(file: String)
}

extension LoRAError: CategorizedError {
    public var category: ErrorCategory {
        if case .weight = self { .usage } else { .badData }
    }

    public var description: String {
        switch self {
        case .notLoRA(let file, let keys):
            "\(file): not a LoRA: expected names such as lora_unet_....lora_down.weight or ....lora_A.weight, found "
                + (keys.isEmpty ? "no tensors" : listed(keys))
        case .unsupported(let file, let format, let key):
            "\(file): \(format) (tensor \(named(key))) is not supported; use a plain LoRA, or a checkpoint that it was "
                + "merged into"
        case .unmatched(let file, let keys):
            "\(file): \(counted(keys.count, "tensor")) of layers that the model does not have: \(listed(keys)); the "
                + "LoRA was trained for another model, or for a component that is not imported"
        case .duplicate(let file, let layer, let key):
            "\(file): layer \(named(layer)): a second group of tensors for \(named(key))"
        case .incomplete(let file, let layer, let missing):
            "\(file): layer \(named(layer)): no \(missing); the file is incomplete"
        case .shape(let file, let layer, let weight, let up, let down):
            "\(file): layer \(named(layer)): up \(up) and down \(down) do not give the weight's shape \(weight); the "
                + "LoRA was trained for another model"
        case .alpha(let file, let layer):
            "\(file): layer \(named(layer)): alpha is not one finite number"
        case .cachedLayer(let file, let layer):
            "\(file): layer \(named(layer)): the model has cached time features in place of it; pack it with "
                + "--cached-steps 0"
        case .weight(let file):
            "\(file): the weight of a LoRA must be a finite number"
        }
    }
}
