// SPDX-License-Identifier: Apache-2.0
// The accuracy of the evaluator on held-out pairs, clean and with Gaussian noise of standard deviation 0.03.

import TestKit
import Testing

@testable import ShapesWorld

@Suite struct EvaluatorAccuracyTests {
    /// The required share of right verdicts.
    private static let requiredShare = 0.99

    @Test("true pairs are accepted and false pairs rejected", .slow, arguments: [0, 0.03] as [Float])
    func accuracy(noise: Float) {
        let heldOut = ShapesDataset(seed: 0xBEEF)
        let accuracy = EvaluatorAccuracy(of: SceneEvaluator(), on: heldOut, samples: 3000, noise: noise)

        #expect(accuracy.truePairs.total == 3000)
        #expect(accuracy.truePairs.value >= Self.requiredShare, "\(accuracy.truePairs)")
        #expect(accuracy.corruptedPairs.value >= Self.requiredShare, "\(accuracy.corruptedPairs)")
        #expect(accuracy.foreignPairs.total > 2000)
        #expect(accuracy.foreignPairs.value >= Self.requiredShare, "\(accuracy.foreignPairs)")
        for family in PromptFamily.allCases {
            let rate = accuracy.truePairsByFamily[family] ?? .init()
            #expect(rate.total > 100 && rate.value >= Self.requiredShare, "\(family): \(rate)")
        }
        for kind in ShapesCorruption.Kind.allCases {
            let rate = accuracy.corruptedPairsByKind[kind] ?? .init()
            #expect(rate.total > 100 && rate.value >= Self.requiredShare, "\(kind): \(rate)")
        }
    }

    @Test("an evaluator that detects nothing has no right verdicts on true pairs")
    func blindEvaluator() {
        var blind = SceneEvaluator()
        blind.contrast = 2
        let accuracy = EvaluatorAccuracy(of: blind, on: ShapesDataset(seed: 1), samples: 50)
        #expect(accuracy.truePairs.right == 0)
        #expect(accuracy.corruptedPairs.right == 50)
    }
}
