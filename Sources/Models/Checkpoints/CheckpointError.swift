// SPDX-License-Identifier: Apache-2.0
// Faults of stored models that do not depend on the container: files of another version, and tensors that do not belong
// to a config.

import Files

/// A stored model that cannot be read or written.
public enum CheckpointError: Error, Equatable, Sendable {
    /// The layout is of another version than the one that this program writes and reads.
    case version(file: String, expected: Int, found: Int)
    /// A tensor that the model needs is not in the file.
    case missingKey(file: String, key: String)
    /// The file contains tensors that the model does not have: the config does not belong to these weights.
    case unusedKeys(file: String, keys: [String])
    /// A tensor has another shape than the model gives it.
    case shapeMismatch(file: String, key: String, expected: [Int], found: [Int])
    /// A tensor has an element type that cannot be used where it is needed.
    case elementType(file: String, key: String, expected: [String], found: String)
    /// A tensor contains NaN or infinity: `index` is the first such element (row-major), `count` their number.
    case notFinite(file: String, key: String, index: Int, count: Int)
    /// A finite value at `index` of a tensor is too large for the 16-bit type that it is to be stored in.
    case exceedsType(file: String, key: String, type: StorageType, index: Int)
    /// A key cannot be stored: an empty component, a slash, or it names a tensor and a group at once.
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
        case .missingKey(let file, let key):
            "\(file): tensor \(key): missing; the weights do not belong to this config"
        case .unusedKeys(let file, let keys):
            "\(file): \(keys.count) tensors that the config does not have: \(listed(keys)); "
                + "the weights do not belong to this config"
        case .shapeMismatch(let file, let key, let expected, let found):
            "\(file): tensor \(key): expected shape \(expected), found \(found)"
        case .elementType(let file, let key, let expected, let found):
            "\(file): tensor \(key): expected \(expected.joined(separator: " or ")), found \(found)"
        case .notFinite(let file, let key, let index, let count):
            "\(file): tensor \(key): \(count) values are NaN or infinite, the first at index \(index); "
                + "the weights are damaged or training diverged"
        case .exceedsType(let file, let key, let type, let index):
            "\(file): tensor \(key), index \(index): the value is too large for \(type.rawValue); store it as float32"
        case .invalidKey(let file, let key):
            "\(file): tensor key \"\(key)\" cannot be stored: its parts between dots must be non-empty, without "
                + "slashes, and not name a tensor and a group at once"
        case .duplicateKey(let file, let key):
            "\(file): tensor \(key) occurs twice"
        case .scaledFloat8(let file, let key):
            "\(file): scaled float8 weights (tensor \(key)) are not supported; take the float16 or bfloat16 file of "
                + "the model"
        }
    }
}
