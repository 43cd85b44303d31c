// SPDX-License-Identifier: Apache-2.0
// A plain implementation of the formats, one bit and one code at a time, written from the descriptions of
// `PackingLayout`, `EntropyStream` and `FrequencyModel`. The tests compare the fast functions with it.

import Foundation

@testable import Packing

/// Packing and unpacking by definition; slow.
enum ReferencePacking {
    /// The bytes of stored codes, each in `0..<levels`.
    static func pack(_ stored: [Int], layout: PackingLayout) -> [UInt8] {
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

    /// The `count` stored codes in `bytes`, which must be valid.
    static func unpack(_ bytes: [UInt8], count: Int, layout: PackingLayout) -> [Int] {
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

extension ReferencePacking {
    /// The `count` stored codes in the entropy-coded `bytes`, which must be valid.
    static func unpackEntropy(_ bytes: [UInt8], count: Int, levels: Int) throws(PackingError) -> [Int] {
        guard count > 0 else { return [] }
        if bytes[0] == 0 {
            return unpack(
                Array(bytes.dropFirst()), count: count,
                layout: try PackingLayout(levels: levels, encoding: .radix))
        }
        var codesPerTuple = 1
        while power(levels, codesPerTuple + 1) <= 256 { codesPerTuple += 1 }
        let precision = Int(bytes[0] >> 4)
        let lanes = power(2, Int(bytes[1]))

        var bit = 16
        func number(bits: Int) -> Int {
            (0..<bits).reduce(0) { value, index in
                defer { bit += 1 }
                return value + Int(bytes[bit / 8] >> UInt8(bit % 8) & 1) * power(2, index)
            }
        }
        func frequency() -> Int {
            let length = number(bits: 4)
            return length == 0 ? 0 : power(2, length - 1) + number(bits: length - 1)
        }
        let frequencies: [Int]
        if bytes[0] & 15 == 1 {
            frequencies = shared((0..<levels).map { _ in frequency() }, codesPerTuple, precision)
        } else {
            frequencies = (0..<power(levels, codesPerTuple)).map { _ in frequency() }
        }

        var position = (bit + 7) / 8
        func word() -> Int {
            defer { position += 2 }
            return Int(bytes[position]) + 256 * Int(bytes[position + 1])
        }
        var states = (0..<lanes).map { _ in
            let low = word()
            return low + 65536 * word()
        }
        var stored: [Int] = []
        var tuple = 0
        while stored.count < count {
            let state = states[tuple % lanes]
            var symbol = 0
            var rest = state % power(2, precision)
            while rest >= frequencies[symbol] {
                rest -= frequencies[symbol]
                symbol += 1
            }
            let next = frequencies[symbol] * (state / power(2, precision)) + rest
            states[tuple % lanes] = next < 65536 ? next * 65536 + word() : next
            for _ in 0..<codesPerTuple {
                stored.append(symbol % levels)
                symbol /= levels
            }
            tuple += 1
        }
        return Array(stored[..<count])
    }

    /// The frequencies of tuples of independent codes.
    private static func shared(_ weights: [Int], _ codesPerTuple: Int, _ precision: Int) -> [Int] {
        let levels = weights.count
        let products = (0..<power(levels, codesPerTuple)).map { symbol in
            (0..<codesPerTuple).reduce(1) { $0 * weights[symbol / power(levels, $1) % levels] }
        }
        let occurring = products.count { $0 > 0 }
        func start(_ symbol: Int) -> Int {
            let before = products[..<symbol]
            let sum = UInt64(before.reduce(0, +))
            return before.count { $0 > 0 }
                + Int(sum * UInt64(power(2, precision) - occurring) / UInt64(products.reduce(0, +)))
        }
        return products.indices.map { start($0 + 1) - start($0) }
    }

    private static func power(_ base: Int, _ exponent: Int) -> Int {
        (0..<exponent).reduce(1) { value, _ in value * base }
    }
}

/// The empirical entropy, in bits, of codes that occur `histogram[code]` times each: the lower bound for codes that are
/// coded independently.
/// - Returns: bits of all codes together.
func entropyEstimate(histogram: [Int]) -> Double {
    let total = Double(histogram.reduce(0, +))
    return histogram.reduce(0) { bits, count in
        count == 0 ? bits : bits + Double(count) * log2(total / Double(count))
    }
}
