// SPDX-License-Identifier: Apache-2.0
// The evaluation prompts: N per family, each with the seed of its initial noise, the same on every machine. Calibration
// prompts are drawn the same way.

import BitsFusion

/// A prompt with the seed of its image.
public struct EvaluationPrompt: Hashable, Sendable {
    public let caption: SceneCaption
    /// The seed of the initial noise, different for each prompt of a suite.
    public let seed: UInt64
}

/// A fixed list of prompts that covers the six families equally.
public struct PromptSuite: Hashable, Sendable {
    /// The prompts, family by family in the order of `PromptFamily.allCases`.
    public let prompts: [EvaluationPrompt]
    public let promptsPerFamily: Int

    /// `promptsPerFamily` prompts of every family.
    ///
    /// A family's captions are taken in a random order, and repeated in the same order if there are fewer than
    /// `promptsPerFamily`. The position family alternates between captions without and with colors. In each family, a
    /// longer suite of the same seed starts with the prompts of a shorter one.
    public init(promptsPerFamily: Int = 40, seed: UInt64 = 1024) {
        precondition(promptsPerFamily >= 0, "PromptSuite: \(promptsPerFamily) prompts per family")
        self.promptsPerFamily = promptsPerFamily
        var prompts: [EvaluationPrompt] = []
        for (number, family) in PromptFamily.allCases.enumerated() {
            var random = SceneRandom(seed: seed, index: UInt64(number), stream: RandomStream.promptCaption)
            var noiseSeeds = SceneRandom(seed: seed, index: UInt64(number), stream: RandomStream.promptSeed)
            let groups = CaptionCatalog.groups(of: family).map { group in
                var shuffled = group
                random.shuffle(&shuffled)
                return shuffled
            }
            for index in 0..<promptsPerFamily {
                let group = groups[index % groups.count]
                let caption = group[(index / groups.count) % group.count]
                // 53 bits, which JSON's numbers represent exactly.
                prompts.append(EvaluationPrompt(caption: caption, seed: noiseSeeds.next() >> 11))
            }
        }
        self.prompts = prompts
    }

    /// The prompts of one family.
    public func prompts(of family: PromptFamily) -> [EvaluationPrompt] {
        prompts.filter { $0.caption.family == family }
    }
}

extension CalibrationSet {
    /// Prompts of the shapes world, alternating between the six families.

    ///
    /// - Parameters:
    ///   - count: K, the number of images.
    ///   - seed: chooses captions and noise. The default's prompts differ from the evaluation's, so that a recipe is
    ///     not fitted to the prompts that evaluate it.
    ///   - pipeline: a model with the shapes world's tokenizer.
    /// - Throws: `SensitivityError.images` for K < 1; `PipelineError`, `TokenizerError` for other models.
    public init(promptCount count: Int, seed: UInt64 = 0, pipeline: DiffusionPipeline) throws {
        guard count > 0 else { throw SensitivityError.images(requested: count, available: nil) }
        let families = PromptFamily.allCases
        let perFamily = (count + families.count - 1) / families.count
        let suite = PromptSuite(promptsPerFamily: perFamily, seed: seed)
        let chosen = (0..<count).map { index in
            suite.prompts[(index % families.count) * perFamily + index / families.count]
        }
        try self.init(prompts: chosen.map(\.caption.text), seeds: chosen.map(\.seed), pipeline: pipeline)
    }
}
