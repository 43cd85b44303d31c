// SPDX-License-Identifier: Apache-2.0
// The accuracy of an evaluator on rendered images, whose scenes are known.

import Images

@testable import ShapesWorld

/// Counts of right verdicts over true and false pairs of image and caption.
struct EvaluatorAccuracy: Hashable, Sendable {
    /// Right verdicts out of all.
    struct Rate: Hashable, Sendable {
        var right = 0
        var total = 0

        /// `right` / `total`, 0...1; NaN when nothing was counted.
        var value: Double { Double(right) / Double(total) }

        mutating func count(_ isRight: Bool) {
            total += 1
            if isRight { right += 1 }
        }
    }

    /// Images with their own caption, which should be accepted.
    var truePairs = Rate()
    /// Images with a corruption of their caption, which should be rejected; see `ShapesCorruption`.
    var corruptedPairs = Rate()
    /// Images with a contradicting caption of another scene, which should be rejected.
    var foreignPairs = Rate()
    /// `truePairs`, by family.
    var truePairsByFamily: [PromptFamily: Rate] = [:]
    /// `corruptedPairs` by kind of corruption.
    var corruptedPairsByKind: [ShapesCorruption.Kind: Rate] = [:]

    /// Evaluates samples 0 ..< `samples` of `dataset` with their own caption, a corruption of it, and another scene's.
    ///
    /// - Parameters:
    ///   - evaluator: the evaluator under test.
    ///   - dataset: use a seed that nothing was tuned on.
    ///   - samples: number of images.
    ///   - noise: standard deviation of the Gaussian noise added to every value of an image, in units of 0...1.
    init(of evaluator: SceneEvaluator, on dataset: ShapesDataset, samples: Int, noise: Float = 0) {
        for index in 0..<samples {
            let sample = dataset.sample(at: index)
            var random = SceneRandom(seed: dataset.seed, index: UInt64(index), stream: RandomStream.testCorruption)
            let found = evaluator.detect(sample.image.addingNoise(noise, using: &random))
            func accepts(_ caption: SceneCaption) -> Bool {
                evaluator.judge(found, against: caption).isSatisfied
            }

            let isAccepted = accepts(sample.caption)
            truePairs.count(isAccepted)
            truePairsByFamily[sample.caption.family, default: Rate()].count(isAccepted)

            let corruption = ShapesCorruption.draw(sample.caption, using: &random)
            let isRejected = !accepts(corruption.caption)
            corruptedPairs.count(isRejected)
            corruptedPairsByKind[corruption.kind, default: Rate()].count(isRejected)

            let foreign = dataset.caption(at: samples + index)
            if foreign.contradicts(sample.caption) { foreignPairs.count(!accepts(foreign)) }
        }
    }
}

extension RGBImage {
    /// The image with Gaussian noise of standard deviation `sigma` on every value, not clamped.
    func addingNoise(_ sigma: Float, using random: inout SceneRandom) -> RGBImage {
        guard sigma > 0 else { return self }
        var noisy = self
        for index in noisy.pixels.indices { noisy.pixels[index] += sigma * random.normal() }
        return noisy
    }
}
