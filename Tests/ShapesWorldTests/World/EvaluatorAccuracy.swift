// SPDX-License-Identifier: Apache-2.0
// The accuracy of the evaluator on rendered images, whose captions are known to be true or false.

import Images

@testable import ShapesWorld

/// The shares of correct results for true and false pairs of image and caption.
struct EvaluatorAccuracy: Hashable, Sendable {
    /// Correct results among all.
    struct Rate: Hashable, Sendable {
        private(set) var correct = 0
        private(set) var total = 0

        /// `correct` / `total`, 0...1; NaN for an empty count.
        var value: Double { Double(correct) / Double(total) }

        mutating func count(_ isCorrect: Bool) {
            total += 1
            if isCorrect { correct += 1 }
        }
    }

    /// Images with their own captions, to be accepted.
    private(set) var truePairs = Rate()
    /// Images with captions of which one word was changed, to be rejected; see `ShapesCorruption`.
    private(set) var corruptedPairs = Rate()
    /// Images with contradicting captions of other scenes, to be rejected.
    private(set) var foreignPairs = Rate()
    /// `truePairs`, by family.
    private(set) var truePairsByFamily: [PromptFamily: Rate] = [:]
    /// `corruptedPairs`, by the kind of change.
    private(set) var corruptedPairsByKind: [ShapesCorruption.Kind: Rate] = [:]

    /// Evaluates samples 0 ..< `samples` of `dataset`, each with its own, a corrupted and another sample's caption.
    ///
    /// - Parameters:
    ///   - evaluator: the evaluator under test.
    ///   - dataset: samples that the evaluator was not tuned on.
    ///   - samples: the number of images.
    ///   - noise: the standard deviation of Gaussian noise that is added to the pixels, in units of 0...1.
    init(of evaluator: SceneEvaluator, on dataset: ShapesDataset, samples: Int, noise: Float = 0) {
        for index in 0..<samples {
            let sample = dataset.sample(at: index)
            var random = SceneRandom(seed: dataset.seed, index: UInt64(index), lane: 8)
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
    /// The image plus Gaussian noise of standard deviation `sigma`, not clamped.
    func addingNoise(_ sigma: Float, using random: inout SceneRandom) -> RGBImage {
        guard sigma > 0 else { return self }
        var noisy = self
        for index in noisy.pixels.indices { noisy.pixels[index] += sigma * random.normal() }
        return noisy
    }
}
