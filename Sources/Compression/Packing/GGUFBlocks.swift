// SPDX-License-Identifier: Apache-2.0
// Codes in the block types of GGUF files, which ggml, llama.cpp and ComfyUI-GGUF read (ggml/src/ggml-common.h and
// ggml-quants.c). d is the scale in float16, q a stored code:
//
//     Q2_K   256 codes in 84 bytes    sub-scales and minima 16 x (4 + 4 bits), q 64, d, dmin   d·sc·q - dmin·m, q 0...3
//     Q3_K   256 codes in 110 bytes   third bits 32, low bits 64, sub-scales 12, d             d·(sc - 32)·q, q -4...3
//     Q4_0    32 codes in 18 bytes    d, q 16                                                  d·(q - 8), q 0...15
//     Q5_0    32 codes in 22 bytes    d, fifth bits 4, low bits 16                             d·(q - 16), q 0...31
//     Q6_K   256 codes in 210 bytes   low bits 128, high bits 64, sub-scales 16, d             d·sc·(q - 32), q 0...63
//     Q8_0    32 codes in 34 bytes    d, q 32                                                  d·q, q -128...127
//
// The sub-scales are written as 1 (and the minimum of Q2_K as d), so that a block holds codes times the scale of its
// channel without another rounding. ggml's own quantizers take the scale of a block from its largest weight and would
// change weights.

/// A block type of GGUF files, with ggml's number.
public enum GGUFBlockType: UInt32, CaseIterable, Sendable {
    case q40 = 2
    case q50 = 6
    case q80 = 8
    case q2K = 10
    case q3K = 11
    case q6K = 14

    /// ggml's name.
    public var name: String {
        switch self {
        case .q40: "Q4_0"
        case .q50: "Q5_0"
        case .q80: "Q8_0"
        case .q2K: "Q2_K"
        case .q3K: "Q3_K"
        case .q6K: "Q6_K"
        }
    }

    /// The number of codes of a block.
    public var codesPerBlock: Int {
        switch self {
        case .q40, .q50, .q80: 32
        case .q2K, .q3K, .q6K: 256
        }
    }

    /// The bytes of a block, its scale included.
    public var bytesPerBlock: Int {
        switch self {
        case .q40: 18
        case .q50: 22
        case .q80: 34
        case .q2K: 84
        case .q3K: 110
        case .q6K: 210
        }
    }

    /// The signed codes that a block can hold.
    public var codes: ClosedRange<Int> {
        switch self {
        case .q2K: -1...2
        case .q3K: -4...3
        case .q40: -8...7
        case .q50: -16...15
        case .q6K: -32...31
        case .q80: -128...127
        }
    }

    /// The type with the fewest bits for rows of `rowLength` codes in `codes`; nil where there is none.
    public static func smallest(for codes: ClosedRange<Int>, rowLength: Int) -> GGUFBlockType? {
        allCases.filter { type in
            rowLength > 0 && rowLength % type.codesPerBlock == 0 && type.codes.lowerBound <= codes.lowerBound
                && codes.upperBound <= type.codes.upperBound
        }.min { $0.bytesPerBlock * $1.codesPerBlock < $1.bytesPerBlock * $0.codesPerBlock }
    }

    /// Writes a row of codes as blocks.
    ///
    /// - Parameters:
    ///   - row: codes within `codes`.
    ///   - scale: d, as float16 bits.
    ///   - bytes: the blocks, `bytesPerBlock` for each `codesPerBlock` codes.
    /// - Precondition: `row.count` is a multiple of `codesPerBlock`, and `bytes` has the size of its blocks.
    public func write(
        _ row: UnsafeBufferPointer<Int16>, scale: UInt16, to bytes: UnsafeMutableBufferPointer<UInt8>
    ) {
        let blocks = row.count / codesPerBlock
        precondition(
            row.count % codesPerBlock == 0 && bytes.count == blocks * bytesPerBlock,
            "GGUF \(name): \(row.count) codes to \(bytes.count) bytes")
        bytes.initialize(repeating: 0)
        for block in 0..<blocks {
            let codes = row[(block * codesPerBlock)..<(block + 1) * codesPerBlock]
            let to = bytes[(block * bytesPerBlock)..<(block + 1) * bytesPerBlock]
            writeBlock(UnsafeBufferPointer(rebasing: codes), scale, to: UnsafeMutableBufferPointer(rebasing: to))
        }
    }

    /// Writes a block into bytes that are 0.
    private func writeBlock(
        _ codes: UnsafeBufferPointer<Int16>, _ scale: UInt16, to bytes: UnsafeMutableBufferPointer<UInt8>
    ) {
        /// The code as an unsigned number from the smallest one of the type.
        func stored(_ index: Int) -> UInt8 { UInt8(Int(codes[index]) - self.codes.lowerBound) }
        func writeScale(at offset: Int) {
            bytes[offset] = UInt8(truncatingIfNeeded: scale)
            bytes[offset + 1] = UInt8(truncatingIfNeeded: scale >> 8)
        }
        switch self {
        case .q80:
            writeScale(at: 0)
            for index in 0..<32 { bytes[2 + index] = UInt8(bitPattern: Int8(codes[index])) }
        case .q40:
            writeScale(at: 0)
            for index in 0..<16 { bytes[2 + index] = stored(index) | stored(index + 16) << 4 }
        case .q50:
            writeScale(at: 0)
            for index in 0..<16 { bytes[6 + index] = stored(index) & 15 | (stored(index + 16) & 15) << 4 }
            for index in 0..<32 { bytes[2 + index / 8] |= (stored(index) >> 4) << (index % 8) }
        case .q2K:
            // Sub-scales 1, minima 1: d·q - d.
            for group in 0..<16 { bytes[group] = 0x11 }
            writeLowPairs(stored, to: bytes, at: 16)
            writeScale(at: 80)
            writeScale(at: 82)
        case .q3K:
            writeLowPairs(stored, to: bytes, at: 32)
            for index in 0..<256 { bytes[index % 32] |= (stored(index) >> 2) << (index / 32) }
            // Sixteen sub-scales of 33 = 0b10_0001: low halves of 1 in eight bytes, high pairs of 2 in four.
            for index in 96..<104 { bytes[index] = 0x11 }
            for index in 104..<108 { bytes[index] = 0b1010_1010 }
            writeScale(at: 108)
        case .q6K:
            for half in 0..<2 {
                for index in 0..<32 {
                    let four = (0..<4).map { stored(half * 128 + $0 * 32 + index) }
                    bytes[half * 64 + index] = four[0] & 15 | (four[2] & 15) << 4
                    bytes[half * 64 + 32 + index] = four[1] & 15 | (four[3] & 15) << 4
                    bytes[128 + half * 32 + index] =
                        four[0] >> 4 | (four[1] >> 4) << 2 | (four[2] >> 4) << 4 | (four[3] >> 4) << 6
                }
            }
            for group in 0..<16 { bytes[192 + group] = 1 }
            writeScale(at: 208)
        }
    }

    /// The two low bits of 256 codes: the bytes of each half hold four codes that are 32 apart.
    private func writeLowPairs(
        _ stored: (Int) -> UInt8, to bytes: UnsafeMutableBufferPointer<UInt8>, at offset: Int
    ) {
        for index in 0..<256 {
            let (half, pair) = (index / 128, index % 128 / 32)
            bytes[offset + half * 32 + index % 32] |= (stored(index) & 3) << (2 * pair)
        }
    }
}
