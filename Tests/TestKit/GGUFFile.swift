// SPDX-License-Identifier: Apache-2.0
// Reads GGUF files in tests, independently of the code that writes them (ggml/docs/gguf.md, ggml-quants.c).

import Foundation

/// A GGUF file with its tensors as floats.
public struct GGUFFile {
    public struct Entry {
        public let type: UInt32
        /// As in PyTorch.
        public let shape: [Int]
        public let values: [Float]
    }

    public private(set) var strings: [String: String] = [:]
    public private(set) var numbers: [String: [Int]] = [:]
    public private(set) var tensors: [String: Entry] = [:]

    public struct Fault: Error { public let reason: String }

    /// - Throws: `Fault` where the file is not one.
    public init(_ path: String) throws {
        var reader = Reader(bytes: [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        guard reader.take(4) == Array("GGUF".utf8), reader.number(4) == 3 else {
            throw Fault(reason: "magic or version")
        }
        let (tensorCount, keyCount) = (reader.number(8), reader.number(8))
        for _ in 0..<keyCount {
            let key = reader.text()
            switch reader.number(4) {
            case 4: numbers[key] = [reader.number(4)]
            case 8: strings[key] = reader.text()
            case 9:
                guard reader.number(4) == 5 else { throw Fault(reason: "\(key): array type") }
                let count = reader.number(8)
                numbers[key] = (0..<count).map { _ in reader.number(4) }
            default: throw Fault(reason: "\(key): type")
            }
        }
        let infos = (0..<tensorCount).map { _ in
            let name = reader.text()
            let rank = reader.number(4)
            let shape = (0..<rank).map { _ in reader.number(8) }
            return (
                name: name, shape: Array(shape.reversed()), type: UInt32(reader.number(4)), offset: reader.number(8)
            )
        }
        let start = (reader.position + 31) / 32 * 32
        for (name, shape, type, offset) in infos {
            guard offset % 32 == 0 else { throw Fault(reason: "\(name): offset \(offset)") }
            let values = try Self.values(reader.bytes, at: start + offset, type, count: shape.reduce(1, *))
            tensors[name] = Entry(type: type, shape: shape, values: values)
        }
    }

    private static func values(_ bytes: [UInt8], at start: Int, _ type: UInt32, count: Int) throws -> [Float] {
        func half(_ offset: Int) -> Float {
            let bits = UInt16(bytes[start + offset]) | UInt16(bytes[start + offset + 1]) << 8
            return Self.float(half: bits)
        }
        func byte(_ offset: Int) -> Int { Int(bytes[start + offset]) }
        return try (0..<count).map { index in
            let (small, large) = (index / 32, index / 256)
            let (i, j) = (index % 32, index % 256)
            switch type {
            case 0:
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(byte(4 * index + $1)) << (8 * UInt32($1)) }
                return Float(bitPattern: bits)
            case 1: return half(2 * index)
            case 30: return Float(bitPattern: UInt32(byte(2 * index) | byte(2 * index + 1) << 8) << 16)
            case 2:
                let at = 18 * small
                return half(at) * Float(((byte(at + 2 + i % 16) >> (i < 16 ? 0 : 4)) & 15) - 8)
            case 6:
                let at = 22 * small
                let low = (byte(at + 6 + i % 16) >> (i < 16 ? 0 : 4)) & 15
                return half(at) * Float(low | ((byte(at + 2 + i / 8) >> (i % 8)) & 1) << 4 - 16)
            case 8: return half(34 * small) * Float(Int8(truncatingIfNeeded: byte(34 * small + 2 + i)))
            case 10:
                let at = 84 * large
                let scale = byte(at + j / 16)
                let q = (byte(at + 16 + j / 128 * 32 + j % 32) >> (j % 128 / 32 * 2)) & 3
                return half(at + 80) * Float(scale & 15) * Float(q) - half(at + 82) * Float(scale >> 4)
            case 11:
                let at = 110 * large, group = j / 16
                let low = (byte(at + 96 + group % 8) >> (group < 8 ? 0 : 4)) & 15
                let high = (byte(at + 104 + group % 4) >> (group / 4 * 2)) & 3
                let q = (byte(at + 32 + j / 128 * 32 + j % 32) >> (j % 128 / 32 * 2)) & 3
                let third = (byte(at + j % 32) >> (j / 32)) & 1
                return half(at + 108) * Float(low | high << 4 - 32) * Float(q - (third == 1 ? 0 : 4))
            case 14:
                let at = 210 * large, part = j % 128 / 32
                let low = (byte(at + j / 128 * 64 + part % 2 * 32 + i) >> (part < 2 ? 0 : 4)) & 15
                let high = (byte(at + 128 + j / 128 * 32 + i) >> (2 * part)) & 3
                let scale = Int8(truncatingIfNeeded: byte(at + 192 + j / 16))
                return half(at + 208) * Float(scale) * Float((low | high << 4) - 32)
            default: throw Fault(reason: "tensor type \(type)")
            }
        }
    }

    private static func float(half bits: UInt16) -> Float {
        let (exponent, fraction) = (Int(bits >> 10) & 31, Float(bits & 1023))
        let size = exponent == 0 ? fraction * 0x1p-24 : (1 + fraction * 0x1p-10) * exp2(Float(exponent - 15))
        return bits >> 15 == 1 ? -size : size
    }
}

private struct Reader {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func take(_ count: Int) -> [UInt8] {
        position += count
        return Array(bytes[position - count..<position])
    }

    mutating func number(_ count: Int) -> Int {
        take(count).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    }

    mutating func text() -> String {
        let count = number(8)
        return String(decoding: take(count), as: UTF8.self)
    }
}
