// SPDX-License-Identifier: Apache-2.0
// The words of every checkpoint error, made in this one place: what, where, expected and found, what to do. One line.

import Files
import Foundation

extension CheckpointError: CustomStringConvertible, LocalizedError {
    public var errorDescription: String? { description }

    public var description: String {
        switch self {
        case .hdf5(let file, let object, let operation, let cause):
            "\(file): HDF5 could not \(operation) \(object) (\(cause))\(Self.advice(operation))"
        case .object(let file, let object, let fault):
            "\(file): \(object): \(fault)"
        case .attribute(let file, let object, let name, let fault):
            "\(file): attribute \(name) of \(object): \(fault)"
        case .version(let file, let expected, let found):
            "\(file): format version \(found): expected \(expected); "
                + (found > expected ? "use a newer bitsfusion" : "import or train it again")
        case .safetensors(let file, let fault):
            "\(file): \(fault)"
        case .missingKey(let file, let key):
            "\(file): tensor \(key) is missing; the weights do not belong to this config"
        case .unusedKeys(let file, let keys):
            "\(file): \(keys.count) tensors that the config has no place for: \(Self.some(keys)); "
                + "the weights do not belong to this config"
        case .shapeMismatch(let file, let key, let expected, let found):
            "\(file): tensor \(key) has shape \(found), the config wants \(expected)"
        case .elementType(let file, let key, let expected, let found):
            "\(file): tensor \(key) holds \(found), expected \(expected.joined(separator: " or "))"
        case .notFinite(let file, let key, let index, let count):
            "\(file): tensor \(key) holds \(count) values that are NaN or infinite, the first at index \(index); "
                + "the weights are damaged or training diverged"
        case .exceedsType(let file, let key, let type, let index):
            "\(file): tensor \(key), index \(index): the value is too large for \(type.rawValue); store it as float32"
        case .packedLayer(let file, let layer, let fault):
            "\(file): packed layer \(layer): \(fault)"
        case .invalidKey(let file, let key):
            "\(file): tensor key \"\(key)\" cannot be stored: its parts between dots must be non-empty, without "
                + "slashes, and not name a tensor and a group at once"
        case .duplicateKey(let file, let key):
            "\(file): tensor \(key) occurs twice"
        case .noWeights(let folder, let present):
            "\(folder): no diffusion_pytorch_model.safetensors (nor a sharded index)"
                + (present.isEmpty
                    ? "" : "; found \(Self.some(present)), which must be converted to safetensors first")
        case .json(let file, let document, let fault):
            "\(file): \(document) is not valid: \(fault)"
        }
    }

    /// Up to four names, then how many more.
    private static func some(_ names: [String]) -> String {
        let shown = names.prefix(4).joined(separator: ", ")
        return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
    }

    private static func advice(_ operation: String) -> String {
        HDF5Operation.writing.contains(operation) ? "" : "; the file is damaged or incomplete"
    }
}

extension ObjectFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing: "not in this file"
        case .notAHardLink: "a link to elsewhere, which checkpoints do not hold"
        case .unsupportedType(let name): "holds \(name), which checkpoints do not store"
        case .impossibleExtents(let shape): "claims the shape \(shape), which the file cannot hold"
        case .tooMany(let limit): "holds more than \(limit) nested objects; the file is damaged"
        case .size(let expected, let found): "expected a size of \(expected), found \(found)"
        case .value(let expected, let found): "expected \(expected), found \(found)"
        }
    }
}

extension AttributeFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing: "missing; the file was not written as a bitsfusion checkpoint"
        case .wrongType(let expected): "is not \(expected)"
        case .value(let expected, let found): "expected \(expected), found \(found)"
        }
    }
}

extension SafetensorsFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooShort(let bytes):
            "not a safetensors file: \(bytes) bytes, and the header's length alone takes 8"
        case .headerTooLarge(let bytes, let limit):
            "header claims \(bytes) bytes, the format allows \(limit); not a safetensors file, or damaged"
        case .headerBeyondFile(let bytes, let available):
            "header claims \(bytes) bytes, \(available) follow; the file is incomplete or no safetensors file"
        case .syntax(let offset, let expected):
            "header is not valid JSON: expected \(expected) at byte \(offset)"
        case .notUTF8:
            "header is not UTF-8"
        case .duplicateKey(let key):
            "header has the key \"\(key)\" twice"
        case .field(let key, let field, let expected):
            "header entry \"\(key)\"\(field.isEmpty ? "" : ", field \"\(field)\""): expected \(expected)"
        case .shapeOverflow(let key, let shape):
            "tensor \(key) has the impossible shape \(shape)"
        case .outOfRange(let key, let begin, let end, let dataBytes):
            "tensor \(key) lies at bytes \(begin)..<\(end) of \(dataBytes); the file is incomplete or damaged"
        case .sizeMismatch(let key, let dtype, let shape, let expected, let found):
            "tensor \(key) of type \(dtype) and shape \(shape): expected \(expected) bytes, found \(found)"
        case .overlap(let key, let with):
            "tensors \(with) and \(key) share bytes"
        case .unusedBytes(let begin, let end):
            "data bytes \(begin)..<\(end) belong to no tensor; the file is damaged"
        case .shardName(let name):
            "index names the shard \"\(name)\", which is not a file name in its own folder"
        case .notInShard(let key, let shard):
            "index places tensor \(key) in \(shard), which does not hold it"
        case .notInIndex(let key, let shard):
            "shard \(shard) holds tensor \(key), which the index does not place there"
        }
    }
}

extension JSONFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .syntax(let offset, let expected): "expected \(expected) at byte \(offset)"
        case .notUTF8: "it is not UTF-8"
        case .duplicateKey(let key): "the key \"\(key)\" occurs twice"
        }
    }
}

extension PackedLayerFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .shape(let shape): "shape \(shape) is not that of a weight"
        case .codeBytes(let expected, let found): "expected \(expected) bytes of codes, found \(found)"
        case .scaleCount(let expected, let found): "expected \(expected) scales, found \(found)"
        case .scale(let channel, let found):
            "scale \(found) of channel \(channel) is not a number that can be stored, > 0"
        case .levels(let bits, let found): "\(found) levels do not belong to \(bits) bits"
        case .encoding(let name): "unknown encoding \"\(name)\""
        case .checksum(let expected, let found):
            "codes and scales have the checksum \(found), written were some with \(expected); the file is damaged"
        case .codes(let error): "\(error)"
        }
    }
}
