// SPDX-License-Identifier: Apache-2.0
// Random numbers of the shapes world, and the table of their streams. A stream is named by (seed, index, stream), so
// sample 70,000 is drawn without the samples before it, on any thread. The generator is SplitMix64 (Steele, Lea and
// Flood 2014).

import Foundation

/// The random streams of this module.
///
/// Streams of one seed and index are independent, so a change in how one quantity is drawn leaves the others unchanged.
/// The values are part of the data: another value changes the data sets, and with them every trained model.
enum RandomStream {
    // Of a sample of `ShapesDataset`; the index is the sample's.
    static let caption: UInt64 = 0
    static let layout: UInt64 = 1
    static let textDropping: UInt64 = 2
    /// False captions that test the CLIP-proxy and the evaluator.
    static let testCorruption: UInt64 = 8
    /// False captions that train the CLIP-proxy.
    static let trainingCorruption: UInt64 = 16

    // Of a family of `PromptSuite`; the index is the family's.
    static let promptCaption: UInt64 = 0
    static let promptSeed: UInt64 = 1

    // Of `ModelEvaluator`.
    /// Scenes of the Fréchet distance's reference images; index 0.
    static let referenceScenes: UInt64 = 0
    /// Noise of the noise error, a stream of `Philox`.
    static let noiseError: UInt64 = 1
    static let noiseErrorCurve: UInt64 = 2

    /// The difference between the data sets' seeds of two distillation stages.
    static let stageSeedStride: UInt64 = 0x9E37_79B9
}

/// A seeded random stream with the same values on every platform.
public struct SceneRandom: Sendable {
    private var state: UInt64

    private static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// The stream `stream` of item `index` of the sequence `seed`. Streams are independent of each other.
    public init(seed: UInt64, index: UInt64 = 0, stream: UInt64 = 0) {
        let named = Self.mix(seed &+ Self.increment) ^ (index &* 0xD1B5_4A32_D192_ED03)
        state = Self.mix(Self.mix(named) &+ stream &* 0xA24B_AED4_963E_E407)
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

    /// A uniform number between the bounds of `range`. Rounding may return the upper bound.
    public mutating func uniform(in range: ClosedRange<Float>) -> Float {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// A standard normal number by the Box-Muller transform. Its last bits depend on the platform's `log` and `cos`.
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
