// SPDX-License-Identifier: Apache-2.0
// Sensitivity tables for the tests: with given scores, with random scores, and for the layers of Stable Diffusion v1.5.

import Analyzer
import Foundation
import Recipes
import Tensors
import TestKit
import Testing

@testable import BitAllocator

/// Equal numbers for equal seeds: the splitmix64 sequence.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// A linear layer whose scores by `metric` at 1, 2, 3 ... bits are `mse`.
func layer(
    _ path: LayerID, weights: Int, mse: [Double], metric: SensitivityMetric = .mse, clipDrop: Double? = nil
) -> LayerSensitivity {
    var bits: [BitWidth: SensitivityScores] = [:]
    for (index, value) in mse.enumerated() {
        var scores = SensitivityScores(clipDrop: clipDrop)
        scores[metric] = value
        bits[BitWidth(index + 1)] = scores
    }
    var layer = LayerSensitivity(path: path, kind: .linear, weights: weights, skewness: 0, bits: bits)
    layer.rates = rates
    return layer
}

/// The shape of a rate-distortion curve: dead zones save bits, at an error that grows more slowly at first.
private let rates: [CodeRate] = (1...6).flatMap { bits in
    [Float(0.5), 0.6, 0.7, 0.8].map { deadZone in
        let (width, beyond) = (BitWidth(bits), Double(deadZone - 0.5))
        return CodeRate(
            bits: width, deadZone: deadZone, entropy: width.effectiveBits * (0.95 - 1.5 * beyond),
            weightError: pow(4, -Double(bits)) * (1 + 6 * beyond * beyond))
    }
}

enum RandomTables {
    /// 1...7 layers; scores are often equal, zero or not monotone in the bits, and some tables have CLIP drops.
    static func small(seed: UInt64) -> SensitivityTable {
        var random = SeededGenerator(state: seed)
        let count = Int.random(in: 1...7, using: &random)
        let hasClipDrop = Bool.random(using: &random)
        let isCoarse = Bool.random(using: &random)
        let layers = (0..<count).map { index in
            let mse = (0..<3).map { _ in
                isCoarse
                    ? Double(Int.random(in: 0...2, using: &random)) : Double.random(in: 0...1, using: &random)
            }
            let drop = hasClipDrop ? Double(Int.random(in: -2...5, using: &random)) / 100 : nil
            return layer(
                LayerID("mid.\(index)"), weights: isCoarse ? 64 : Int.random(in: 1...5000, using: &random),
                mse: mse,
                clipDrop: drop)
        }
        return SensitivityTable(layers: layers)
    }

    /// Stable Diffusion v1.5's 256 quantizable layers with random scores that fall about fourfold per bit.
    static func stableDiffusion15(seed: UInt64 = 1) throws -> SensitivityTable {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let fixture = root.appending(path: "Tests/RecipesTests/Fixtures/sd15-layers.json")
        let inventory = try JSONDecoder().decode(ModelInventory.self, from: Data(contentsOf: fixture))
        var random = SeededGenerator(state: seed)
        let layers = inventory.quantizedLayers.filter { $0.role == .searched }.map { shape in
            let first = exp(Double.random(in: -6...0, using: &random))
            return layer(
                shape.path, weights: shape.weights, mse: [first, first / 4.2, first / 17],
                clipDrop: Double.random(in: -0.01...0.05, using: &random))
        }
        return SensitivityTable(
            layers: layers, model: FileReference(path: "sd15.h5", sha256: "00"), inventory: inventory)
    }
}
