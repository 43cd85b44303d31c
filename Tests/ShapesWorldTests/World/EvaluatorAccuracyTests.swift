// SPDX-License-Identifier: Apache-2.0
// The accuracy of the evaluator on held-out pairs, without noise and with Gaussian noise of sigma 0.03.

import Testing

@testable import ShapesWorld

@Suite struct EvaluatorAccuracyTests {
    /// The minimum share of correct results, as documented for the compositional score.
    private static let minimum = 0.99

    @Test("true pairs are accepted and false pairs rejected", arguments: [0, 0.03] as [Float])
    func accuracy(noise: Float) {
        let heldOut = ShapesDataset(seed: 0xBEEF)
        let accuracy = EvaluatorAccuracy(of: SceneEvaluator(), on: heldOut, samples: 3000, noise: noise)

        #expect(accuracy.truePairs.total == 3000)
        #expect(accuracy.truePairs.value >= Self.minimum, "\(accuracy.truePairs)")
        #expect(accuracy.corruptedPairs.value >= Self.minimum, "\(accuracy.corruptedPairs)")
        #expect(accuracy.foreignPairs.total > 2000)
        #expect(accuracy.foreignPairs.value >= Self.minimum, "\(accuracy.foreignPairs)")
        for family in PromptFamily.allCases {
            let rate = accuracy.truePairsByFamily[family] ?? .init()
            #expect(rate.total > 100 && rate.value >= Self.minimum, "\(family): \(rate)")
        }
        for kind in ShapesCorruption.Kind.allCases {
            let rate = accuracy.corruptedPairsByKind[kind] ?? .init()
            #expect(rate.total > 100 && rate.value >= Self.minimum, "\(kind): \(rate)")
        }
    }

    @Test("an evaluator that detects nothing accepts no pair")
    func blindEvaluator() {
        var blind = SceneEvaluator()
        blind.contrast = 2
        let accuracy = EvaluatorAccuracy(of: blind, on: ShapesDataset(seed: 1), samples: 50)
        #expect(accuracy.truePairs.correct == 0)
        #expect(accuracy.corruptedPairs.correct == 50)
    }
}
