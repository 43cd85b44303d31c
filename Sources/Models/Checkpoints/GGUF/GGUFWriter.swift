// SPDX-License-Identifier: Apache-2.0
// Writes a GGUF file (version 3, ggml/docs/gguf.md) tensor by tensor, so that only one tensor is in memory: header and
// metadata, names, shapes and offsets of the tensors, then their data, each at a multiple of 32 bytes. All numbers are
// little-endian. Equal contents give equal bytes.

import Files
import Packing
import Tensors

/// The element type of a tensor in a GGUF file.
public enum GGUFType: Equatable, Sendable {
    case dense(ElementType)
    case blocks(GGUFBlockType)

    /// ggml's number.
    var number: UInt32 {
        switch self {
        case .dense(.float32): 0
        case .dense(.float16): 1
        case .dense(.bfloat16): 30
        case .blocks(let type): type.rawValue
        }
    }

    /// ggml's name.
    public var name: String {
        switch self {
        case .dense(.float32): "F32"
        case .dense(.float16): "F16"
        case .dense(.bfloat16): "BF16"
        case .blocks(let type): type.name
        }
    }
}

/// Type and shape of a tensor in a GGUF file.
public struct GGUFTensor: Equatable, Sendable {
    public let type: GGUFType
    /// As in PyTorch: the last axis is contiguous.
    public let shape: [Int]

    /// - Precondition: of blocks, the last axis is a multiple of their size.
    public init(type: GGUFType, shape: [Int]) {
        if case .blocks(let block) = type {
            precondition((shape.last ?? 0) % block.codesPerBlock == 0, "GGUF \(block.name): shape \(shape)")
        }
        (self.type, self.shape) = (type, shape)
    }

    /// The bytes of the tensor, without padding.
    public var byteCount: Int {
        let count = shape.reduce(1, *)
        switch type {
        case .dense(let element): return count * element.bytesPerElement
        case .blocks(let block): return count / block.codesPerBlock * block.bytesPerBlock
        }
    }
}

/// A value of the metadata.
public enum GGUFValue: Equatable, Sendable {
    case string(String)
    case uint32(UInt32)
    case int32s([Int32])
}

/// Writes a GGUF file. The file exists under its name only after `finish()` succeeds.
public final class GGUFWriter {
    private let file: PendingFile
    private let dataOffset: Int
    private let entries: [String: (offset: Int, byteCount: Int)]
    private let end: Int
    private var missing: Set<String>

    private static let alignment = 32

    /// Creates the file and writes its header.
    ///
    /// - Parameters:
    ///   - path: the file to create.
    ///   - metadata: keys and values, in the order of the file.
    ///   - tensors: names, types and shapes, in the order of the file.
    /// - Throws: `FileError.cannotCreate`, `.writeFailed`.
    /// - Precondition: names and keys are unique.
    public init(
        _ path: String, metadata: [(key: String, value: GGUFValue)], tensors: [(name: String, tensor: GGUFTensor)]
    ) throws {
        var header = Bytes()
        header.append(Array("GGUF".utf8))
        header.append(UInt32(3))
        header.append(UInt64(tensors.count))
        header.append(UInt64(metadata.count))
        for (key, value) in metadata {
            header.append(key)
            header.append(value)
        }
        var entries: [String: (offset: Int, byteCount: Int)] = [:]
        var end = 0
        for (name, tensor) in tensors {
            header.append(name)
            header.append(UInt32(tensor.shape.count))
            for extent in tensor.shape.reversed() { header.append(UInt64(extent)) }
            header.append(tensor.type.number)
            header.append(UInt64(end))
            let known = entries.updateValue((end, tensor.byteCount), forKey: name)
            precondition(known == nil, "GGUF: two tensors are named \(name)")
            end = Self.aligned(end + tensor.byteCount)
        }
        header.append([UInt8](repeating: 0, count: Self.aligned(header.values.count) - header.values.count))
        dataOffset = header.values.count
        self.entries = entries
        self.end = end
        missing = Set(entries.keys)
        file = try PendingFile(path)
        try file.write(header.values, at: 0)
    }

    /// The bytes of the complete file.
    public var byteCount: Int { dataOffset + end }

    /// Writes the data of the tensor `name`, row-major.
    ///
    /// - Precondition: `name` is one of the initializer's `tensors` and has not been written; `bytes` has its size.
    /// - Throws: `FileError.writeFailed`.
    public func write(_ name: String, _ bytes: [UInt8]) throws {
        guard let entry = entries[name], missing.remove(name) != nil, bytes.count == entry.byteCount else {
            preconditionFailure("GGUF write: \(bytes.count) bytes for \(name)")
        }
        let padding = Self.aligned(bytes.count) - bytes.count
        try file.write(bytes + [UInt8](repeating: 0, count: padding), at: dataOffset + entry.offset)
    }

    /// Syncs the file to disk and renames it to its final name.
    ///
    /// - Precondition: all tensors have been written.
    /// - Throws: `FileError.writeFailed`; the temporary file is removed.
    public func finish() throws {
        precondition(missing.isEmpty, "GGUF finish: \(missing.count) tensors were not written")
        try file.commit()
    }

    private static func aligned(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
}

/// Little-endian bytes.
private struct Bytes {
    private(set) var values: [UInt8] = []

    mutating func append(_ bytes: [UInt8]) { values += bytes }

    mutating func append(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.littleEndian) { values += $0 }
    }

    mutating func append(_ text: String) {
        append(UInt64(text.utf8.count))
        append(Array(text.utf8))
    }

    mutating func append(_ value: GGUFValue) {
        switch value {
        case .uint32(let number):
            append(UInt32(4))
            append(number)
        case .string(let text):
            append(UInt32(8))
            append(text)
        case .int32s(let numbers):
            append(UInt32(9))
            append(UInt32(5))
            append(UInt64(numbers.count))
            for number in numbers { append(number) }
        }
    }
}
