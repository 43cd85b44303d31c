// SPDX-License-Identifier: Apache-2.0
// The CLIP-proxy as the scorer of analyses and evaluations.

import BitsFusion

extension ClipProxy: PromptScorer {
    /// - Throws: `TokenizerError` for a proxy of another vocabulary; `CaptionError` for unknown words.
    public func validate(prompts: [String]) throws { _ = try ids(of: prompts) }

    /// - Throws: as `validate(prompts:)`.
    public func scores(of images: Tensor, prompts: [String]) throws -> [Double] {
        score(images, ids: try ids(of: prompts)).map(Double.init)
    }

    public func perceptualReference(_ images: Tensor) -> any PerceptualDistance {
        PerceptualReference(images, proxy: self)
    }

    private func ids(of prompts: [String]) throws -> [Int32] {
        guard config.textConfig.vocabSize == ShapesTokenizer.vocabularySize else {
            throw TokenizerError.vocabulary(
                name: ShapesTokenizer.name, expected: ShapesTokenizer.vocabularySize, found: config.textConfig.vocabSize)
        }
        let tokenizer = ShapesTokenizer(length: config.textConfig.maxPositionEmbeddings)
        return try prompts.flatMap { try tokenizer.encode($0) }
    }
}
