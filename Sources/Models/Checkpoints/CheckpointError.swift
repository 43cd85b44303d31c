// SPDX-License-Identifier: Apache-2.0
// Errors of stored models that are the same for all file formats: another format version, and tensors that do not match
// the config.

import Files

/// A stored model that cannot be read or written.
public enum CheckpointError: Error, Equatable, Sendable {
    /// The format version is not the one that this program reads and writes.
    case version(file: String, expected: Int, found: Int)
    /// An image-text encoder in place of a diffusion model.
    case imageTextEncoder(file: String)
    /// A diffusion model in place of an image-text encoder.
    case diffusionModel(file: String, format: String)
    /// The file does not contain a tensor that the model requires.
    case missingKey(file: String, key: String)
    /// The file contains tensors that the model does not have: the weights do not match the config.
    case unusedKeys(file: String, keys: [String])
    /// The shape of a tensor is not that of the model's parameter.
    case shapeMismatch(file: String, key: String, expected: [Int], found: [Int])
    /// The element type of a tensor is not one of `expected`.
    case elementType(file: String, key: String, expected: [String], found: String)
    /// A tensor contains NaN or infinity: `index` is the first such element (row-major), `count` their number.
    case notFinite(file: String, key: String, index: Int, count: Int)
    /// The finite value at `index` of a tensor (row-major) exceeds the range of `type`, a 16-bit type.
    case exceedsType(file: String, key: String, type: StorageType, index: Int)
    /// A key cannot be stored: it has an empty component or a slash, or names both a tensor and a group.
    case invalidKey(file: String, key: String)
    /// A key was written twice.
    case duplicateKey(file: String, key: String)
    /// The file stores 8-bit floats beside the scales to multiply them by, under `key`.
    case scaledFloat8(file: String, key: String)
}

extension CheckpointError: CategorizedError {
    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .version(let file, let expected, let found):
            "\(file): format version \(found): expected \(expected); "
                + (found > expected ? "use a newer bitsfusion" : "import or train it again")
        case .imageTextEncoder(let file):
            "\(file): an image-text encoder (bitsfusion-clip), not a diffusion model; give the file of a diffusion "
                + "model (evaluate and analyze take this one with --clip)"
        case .diffusionModel(let file, let format):
            "\(file): a diffusion model (\(format)), not an image-text encoder; give a file that `bitsfusion "
                + "import` made of the folder of a CLIP model"
        case .missingKey(let file, let key):
            "\(file): tensor \(named(key)): missing; the weights do not belong to this config"
        case .unusedKeys(let file, let keys):
            "\(file): \(counted(keys.count, "tensor")) that the config does not have: \(listed(keys)); "
                + "the weights do not belong to this config"
        case .shapeMismatch(let file, let key, let expected, let found):
            "\(file): tensor \(named(key)): expected shape \(expected), found \("\(found)".shortened)"
        case .elementType(let file, let key, let expected, let found):
            "\(file): tensor \(named(key)): expected \(expected.joined(separator: " or ")), found \(found)"
        case .notFinite(let file, let key, let index, let count):
            "\(file): tensor \(named(key)): \(count) values are NaN or infinite, the first at index \(index); "
                + "the weights are damaged or training diverged"
        case .exceedsType(let file, let key, let type, let index):
            "\(file): tensor \(named(key)), index \(index): the value is too large for \(type.rawValue); store it "
                + "as float32"
        case .invalidKey(let file, let key):
            "\(file): tensor key \(key.quoted) cannot be stored: its parts between dots must be non-empty, "
                + "without slashes, and a key must not name both a tensor and a group"
        case .duplicateKey(let file, let key):
            "\(file): tensor \(named(key)) occurs twice"
        case .scaledFloat8(let file, let key):
            "\(file): scaled float8 weights (tensor \(named(key))) are not supported; take the float16 or bfloat16 "
                + "file of the model"
        }
    }
}
