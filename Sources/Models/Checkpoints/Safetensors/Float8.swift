// SPDX-License-Identifier: Apache-2.0
// The 8-bit floats of safetensors files, widened to float16, which holds every value of both exactly.
//
//     F8_E4M3   sign, 4 exponent bits (bias 7), 3 mantissa bits; no infinity, NaN is 0x7F and 0xFF     largest 448
//     F8_E5M2   sign, 5 exponent bits (bias 15), 2 mantissa bits: the upper byte of a float16          largest 57344

/// An 8-bit float type.
enum Float8: String, CaseIterable, Sendable {
    case e4m3 = "F8_E4M3"
    case e5m2 = "F8_E5M2"

    /// The float16 pattern of the value with the 8-bit pattern `bits`.
    func float16(_ bits: UInt8) -> UInt16 {
        if self == .e5m2 { return UInt16(bits) << 8 }
        let sign = UInt16(bits & 0x80) << 8
        let (exponent, mantissa) = (Int(bits >> 3) & 0xF, UInt16(bits & 7))
        if exponent == 0xF && mantissa == 7 { return sign | 0x7E00 }
        if exponent > 0 { return sign | UInt16(exponent - 7 + 15) << 10 | mantissa << 7 }
        if mantissa == 0 { return sign }
        // Subnormal: mantissa · 2⁻⁹, which is normal in float16.
        let shift = mantissa.leadingZeroBitCount - 13
        return sign | UInt16(15 - 7 - shift) << 10 | (mantissa << (shift + 1) & 7) << 7
    }

    /// `float16` of every pattern.
    var table: [UInt16] { (0...255).map { float16(UInt8($0)) } }

    /// Widens the 8-bit floats in the second half of `buffer`, which holds two bytes for each, to fill all of it.
    func widen(inPlace buffer: UnsafeMutableRawBufferPointer) {
        let count = buffer.count / 2
        let table = table
        table.withUnsafeBufferPointer { table in
            // In ascending order no value is overwritten before it is read: 2·i + 1 < count + i + 1.
            for index in 0..<count {
                let bits = table[Int(buffer[count + index])]
                buffer.storeBytes(of: bits.littleEndian, toByteOffset: 2 * index, as: UInt16.self)
            }
        }
    }
}

/// Float8 weights with scales, as some programs store them beside or below the weights.
enum Float8Scales {
    private static let suffixes = [".scale_weight", ".weight_scale", ".scale_input", ".input_scale"]

    /// A key that only such files have; nil for other files.
    static func key(in source: any TensorSource) -> String? {
        source.keys.first { key in
            key == "scaled_fp8" || key.hasSuffix(".scaled_fp8") || suffixes.contains { key.hasSuffix($0) }
        }
    }
}
