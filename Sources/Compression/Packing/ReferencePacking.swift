// SPDX-License-Identifier: Apache-2.0
// The formats once more, written for reading: one bit, one code at a time, straight from the description of
// `PackingLayout`. The tests hold the fast functions against it.

/// Packing and unpacking in the plainest way. Slow.
package enum ReferencePacking {
    /// The bytes of stored codes, each in `0..<levels`.
    package static func pack(_ stored: [Int], layout: PackingLayout) -> [UInt8] {
        var bits: [UInt8] = []
        for start in stride(from: 0, to: stored.count, by: layout.codesPerGroup) {
            let group = stored[start..<min(start + layout.codesPerGroup, stored.count)]
            let value = group.reversed().reduce(UInt64(0)) { $0 * UInt64(layout.levels) + UInt64($1) }
            for bit in 0..<layout.bits(ofGroupWith: group.count) {
                bits.append(UInt8(value >> UInt64(bit) & 1))
            }
        }
        var bytes = [UInt8](repeating: 0, count: (bits.count + 7) / 8)
        for (position, bit) in bits.enumerated() {
            bytes[position / 8] |= bit << UInt8(position % 8)
        }
        return bytes
    }

    /// The `count` stored codes in `bytes`, which are taken to be sound.
    package static func unpack(_ bytes: [UInt8], count: Int, layout: PackingLayout) -> [Int] {
        var stored: [Int] = []
        var position = 0
        while stored.count < count {
            let codes = min(layout.codesPerGroup, count - stored.count)
            var value: UInt64 = 0
            for bit in 0..<layout.bits(ofGroupWith: codes) {
                value |= UInt64(bytes[position / 8] >> UInt8(position % 8) & 1) << UInt64(bit)
                position += 1
            }
            for _ in 0..<codes {
                stored.append(Int(value % UInt64(layout.levels)))
                value /= UInt64(layout.levels)
            }
        }
        return stored
    }
}
