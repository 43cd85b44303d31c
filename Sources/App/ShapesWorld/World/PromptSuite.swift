// SPDX-License-Identifier: Apache-2.0
//
// The evaluation prompts: N per family, each with the seed of its starting noise, the same on every machine.

/// A prompt to draw and judge.
public struct EvaluationPrompt: Hashable, Sendable {
    public let caption: SceneCaption
    /// The seed of the noise that sampling starts from; no two prompts of a suite share one.
    public let seed: UInt64
}

/// A fixed list of prompts that covers the six families equally.
public struct PromptSuite: Hashable, Sendable {
    /// The prompts, family by family in the order of `PromptFamily.allCases`.
    public let prompts: [EvaluationPrompt]
    public let promptsPerFamily: Int

    /// `promptsPerFamily` prompts of every family.
    ///
    /// A family's captions are taken in a random order without repetition, and once more from the start where
    /// there are fewer than asked for; position alternates between captions without and with colours. A longer
    /// suite of the same seed begins, family by family, with the shorter one's prompts.
    public init(promptsPerFamily: Int = 40, seed: UInt64 = 1024) {
        precondition(promptsPerFamily >= 0, "PromptSuite: \(promptsPerFamily) prompts per family")
        self.promptsPerFamily = promptsPerFamily
        var prompts: [EvaluationPrompt] = []
        for (number, family) in PromptFamily.allCases.enumerated() {
            var random = SceneRandom(seed: seed, index: UInt64(number), lane: 0)
            var noiseSeeds = SceneRandom(seed: seed, index: UInt64(number), lane: 1)
            let groups = CaptionCatalog.groups(of: family).map { group in
                var shuffled = group
                random.shuffle(&shuffled)
                return shuffled
            }
            for index in 0..<promptsPerFamily {
                let group = groups[index % groups.count]
                let caption = group[(index / groups.count) % group.count]
                // 53 bits, so that the seed survives JSON.
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
