// SPDX-License-Identifier: Apache-2.0
// Everything that can be wrong with a checkpoint file or folder, as facts. `CheckpointError+Text.swift` makes the words.

import Files

/// What kept a file or folder from being read or written.
public enum CheckpointError: Error, Equatable, Sendable {
    // MARK: HDF5

    /// HDF5 failed: `object` is the path inside the file, `cause` the first record of HDF5's error stack.
    case hdf5(file: String, object: String, operation: String, cause: String)
    /// A group that a checkpoint of this format needs is not there, or holds something that cannot be (`fault`).
    case object(file: String, object: String, fault: ObjectFault)
    /// An attribute is missing, or holds something else than it must.
    case attribute(file: String, object: String, name: String, fault: AttributeFault)

    /// The layout is of another version than the one that this program writes and reads.
    case version(file: String, expected: Int, found: Int)

    // MARK: safetensors

    /// The header of a safetensors file or of a shard index is not valid.
    case safetensors(file: String, fault: SafetensorsFault)

    // MARK: Tensors by key

    /// A tensor that the model needs is not in the file.
    case missingKey(file: String, key: String)
    /// Tensors lie in the file that the model does not have: the config does not belong to these weights.
    case unusedKeys(file: String, keys: [String])
    /// A tensor has another shape than the model gives it.
    case shapeMismatch(file: String, key: String, expected: [Int], found: [Int])
    /// A tensor has an element type that cannot be used where it is needed.
    case elementType(file: String, key: String, expected: [String], found: String)
    /// A tensor holds NaN or infinity: `index` is the first such element (row-major), `count` how many there are.
    case notFinite(file: String, key: String, index: Int, count: Int)
    /// A finite value at `index` of a tensor is too large for the 16-bit type that it shall be stored in.
    case exceedsType(file: String, key: String, type: StorageType, index: Int)
    /// The parts of a packed layer do not belong together, or are damaged.
    case packedLayer(file: String, layer: String, fault: PackedLayerFault)
    /// A key cannot be stored: an empty component, a slash, or it names a tensor and a group at once.
    case invalidKey(file: String, key: String)
    /// A key was written twice.
    case duplicateKey(file: String, key: String)

    // MARK: Folders

    /// No weights file that can be read lies in the folder; `present` are the weight files that cannot.
    case noWeights(folder: String, present: [String])
    /// `document` ("the shard index", "config") is not valid JSON or not the document that it must be.
    case json(file: String, document: String, fault: JSONFault)
}

/// What is wrong with an object inside an HDF5 file.
public enum ObjectFault: Equatable, Sendable {
    /// It is not there.
    case missing
    /// A soft, external or user-defined link, which checkpoints never hold.
    case notAHardLink
    /// Its element type is none that checkpoints store.
    case unsupportedType(String)
    /// Its extents do not fit into the file or into memory.
    case impossibleExtents([Int])
    /// Groups nest deeper than, or objects are more than, `limit`: the file loops or is damaged.
    case tooMany(limit: Int)
    /// A number of bytes or elements that must agree with others does not.
    case size(expected: Int, found: Int)
    /// A value outside what the format allows.
    case value(expected: String, found: String)
}

/// What is wrong with an attribute.
public enum AttributeFault: Equatable, Sendable {
    case missing
    /// Its type is not the one that it must have ("a string", "an integer", "integers").
    case wrongType(expected: String)
    case value(expected: String, found: String)
}

extension CheckpointError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noWeights: .inputMissing
        case .hdf5(_, _, let operation, _):
            HDF5Operation.writing.contains(operation) ? .inputOutput : .badData
        default: .badData
        }
    }
}
