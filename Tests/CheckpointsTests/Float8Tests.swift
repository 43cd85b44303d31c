// SPDX-License-Identifier: Apache-2.0
// 8-bit floats of safetensors files, widened exactly.

import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct Float8Tests {
    /// The value of a pattern from its definition.
    private func value(_ bits: UInt8, _ type: Float8) -> Double {
        let sign: Double = bits & 0x80 == 0 ? 1 : -1
        let mantissaBits = type == .e4m3 ? 3 : 2, bias = type == .e4m3 ? 7 : 15
        let magnitude = Int(bits & 0x7F)
        let exponent = magnitude >> mantissaBits, mantissa = magnitude & ((1 << mantissaBits) - 1)
        if type == .e4m3, magnitude == 0x7F { return .nan }
        if type == .e5m2, exponent == 31 { return mantissa == 0 ? sign * .infinity : .nan }
        let fraction = Double(mantissa) / Double(1 << mantissaBits)
        return exponent == 0
            ? sign * fraction * pow(2, Double(1 - bias)) : sign * (1 + fraction) * pow(2, Double(exponent - bias))
    }

    @Test("every pattern is widened to the float16 of the same value", arguments: Float8.allCases)
    func allPatterns(_ type: Float8) {
        for bits in UInt8.min...UInt8.max {
            let expected = value(bits, type)
            let found = Double(Float16(bitPattern: type.float16(bits)))
            #expect(expected.isNaN ? found.isNaN : found == expected && found.sign == expected.sign, "\(bits)")
        }
    }

    @Test("float8 tensors are read as float16, whole and in parts", arguments: Float8.allCases)
    func reading(_ type: Float8) throws {
        let folder = try TemporaryFolder()
        // 120 finite patterns of both types.
        let patterns = (0..<120).map { UInt8($0) }
        let header = "{\"a\":{\"dtype\":\"\(type.rawValue)\",\"shape\":[3,40],\"data_offsets\":[0,120]}}"
        let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
        let path = try folder.write("a.safetensors", length + Array(header.utf8) + patterns)
        let reader = try SafetensorsReader(path)
        #expect(reader.stored("a") == StoredTensor(type: .float16, typeName: type.rawValue, shape: [3, 40]))
        let expected = patterns.map { Float(value($0, type)) }
        #expect(try reader.tensor("a").values == expected)
        var part = [UInt16](repeating: 0, count: 40)
        try part.withUnsafeMutableBytes { try reader.read("a", bytes: 80..<160, into: $0) }
        #expect(part.map { Float(Float16(bitPattern: UInt16(littleEndian: $0))) } == Array(expected[40..<80]))
        let encoded = try reader.encoded("a")
        #expect(encoded.type == .float16 && encoded.bytes.count == 240)
    }
}
