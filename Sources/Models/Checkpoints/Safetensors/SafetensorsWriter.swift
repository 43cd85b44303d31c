// SPDX-License-Identifier: Apache-2.0
// Writes a safetensors file tensor by tensor, so that only one tensor is in memory: first the header, which depends
// only on names, types and shapes, then the data in any order. Equal contents give equal bytes.
//
// The order is that of the reference implementation: larger elements first, then by the bytes of the keys, so that
// every tensor is aligned to its elements. The header is padded with spaces to a multiple of 8 bytes.

import Files
import Foundation

/// Writes a safetensors file. The file exists under its name only after `finish()` succeeds.
public final class SafetensorsWriter {
    private let file: PendingFile
    private let path: String
    private let entries: [String: SafetensorsHeader.Entry]
    private let dataOffset: Int
    private var missing: Set<String>

    /// Creates the file and writes its header.
    ///
    /// - Parameters:
    ///   - path: the file to create.
    ///   - tensors: type and shape of all tensors to write, by key.
    ///   - metadata: text pairs for `__metadata__`; PyTorch loaders require `format` = `pt`.
    /// - Throws: `CheckpointError.invalidKey`; `FileError.cannotCreate`, `.writeFailed`.
    public init(
        _ path: String, tensors: [String: StoredTensor], metadata: [String: String] = ["format": "pt"]
    ) throws {
        self.path = path
        let (header, entries) = try Self.layOut(tensors, metadata, path)
        self.entries = entries
        missing = Set(entries.keys)
        dataOffset = header.count
        file = try PendingFile(path)
        try file.write(header, at: 0)
    }

    /// Writes the elements of `key`, row-major, little-endian.
    ///
    /// - Precondition: `key` is one of the initializer's `tensors` and has not been written; `bytes` has its size.
    /// - Throws: `FileError.writeFailed`.
    public func write(_ key: String, _ bytes: UnsafeRawBufferPointer) throws {
        guard let entry = entries[key] else {
            preconditionFailure("safetensors write: \(key) is not a tensor of this file")
        }
        precondition(missing.remove(key) != nil, "safetensors write: \(key) is written twice")
        precondition(
            bytes.count == entry.bytes.count,
            "safetensors write: \(bytes.count) bytes for \(key), expected \(entry.bytes.count)")
        try file.write(bytes, at: dataOffset + entry.bytes.lowerBound)
    }

    /// Syncs the file to disk and renames it to its final name.
    ///
    /// - Precondition: all tensors have been written.
    /// - Throws: `FileError.writeFailed`; the temporary file is removed.
    public func finish() throws {
        precondition(missing.isEmpty, "safetensors finish: \(missing.count) tensors were not written")
        try file.commit()
    }

    /// The length and the padded header, and the position of each tensor.
    private static func layOut(
        _ tensors: [String: StoredTensor], _ metadata: [String: String], _ path: String
    ) throws -> ([UInt8], [String: SafetensorsHeader.Entry]) {
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { byBytes($0.key, $1.key) }.map {
                "\(quoted($0.key)):\(quoted($0.value))"
            }
            members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var entries: [String: SafetensorsHeader.Entry] = [:]
        var end = 0
        let ordered = tensors.sorted { a, b in
            let sizes = (a.value.type?.bytesPerElement ?? 0, b.value.type?.bytesPerElement ?? 0)
            return sizes.0 != sizes.1 ? sizes.0 > sizes.1 : byBytes(a.key, b.key)
        }
        for (key, tensor) in ordered {
            guard let type = tensor.type, key != "__metadata__" else {
                throw CheckpointError.invalidKey(file: path, key: key)
            }
            let range = end..<end + tensor.byteCount
            end = range.upperBound
            entries[key] = .init(key: key, dtype: type.safetensorsName, shape: tensor.shape, bytes: range)
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            members.append(
                "\(quoted(key)):{\"dtype\":\"\(type.safetensorsName)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(range.lowerBound),\(range.upperBound)]}")
        }
        var header = Array("{\(members.joined(separator: ","))}".utf8)
        header.append(contentsOf: [UInt8](repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8))
        let length = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) }
        return (length + header, entries)
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case "\u{00}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
