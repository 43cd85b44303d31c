// SPDX-License-Identifier: Apache-2.0
//
// Counter-based random numbers: a stream is named by (seed, index, lane), so image 70,000 is drawn without
// drawing the ones before it, on any thread. The generator is SplitMix64 (Steele, Lea, Flood 2014).

import Foundation

/// A seeded random stream whose values are the same on every platform.
public struct SceneRandom: Sendable {
    private var state: UInt64

    private static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// The stream `lane` of item `index` of the sequence `seed`; streams are independent of each other.
    public init(seed: UInt64, index: UInt64 = 0, lane: UInt64 = 0) {
        let named = Self.mix(seed &+ Self.increment) ^ (index &* 0xD1B5_4A32_D192_ED03)
        state = Self.mix(Self.mix(named) &+ lane &* 0xA24B_AED4_963E_E407)
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// 64 uniform bits.
    public mutating func next() -> UInt64 {
        state &+= Self.increment
        return Self.mix(state)
    }

    /// A uniform number in 0..<1, a multiple of 2⁻²⁴.
    public mutating func uniform() -> Float {
        Float(next() >> 40) * 0x1p-24
    }

    /// A uniform number between the bounds of `range`; rounding may reach the upper bound.
    public mutating func uniform(in range: ClosedRange<Float>) -> Float {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// A standard normal number, by Box and Muller; its last bits depend on the platform's `log` and `cos`.
    public mutating func normal() -> Float {
        let radius = (-2 * Foundation.log(1 - Double(uniform()))).squareRoot()
        return Float(radius * Foundation.cos(2 * .pi * Double(uniform())))
    }

    /// A uniform integer in 0..<`bound`.
    ///
    /// - Precondition: `bound` > 0.
    public mutating func index(below bound: Int) -> Int {
        precondition(bound > 0, "SceneRandom.index(below: \(bound)): the bound must be > 0")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// A uniformly chosen element of `elements`.
    ///
    /// - Precondition: `elements` is not empty.
    public mutating func element<Element>(of elements: [Element]) -> Element {
        elements[index(below: elements.count)]
    }

    /// Shuffles `elements` in place; every order is equally likely.
    public mutating func shuffle<Element>(_ elements: inout [Element]) {
        for last in stride(from: elements.count - 1, to: 0, by: -1) {
            elements.swapAt(last, index(below: last + 1))
        }
    }
}
