// SPDX-License-Identifier: Apache-2.0
// What a generation is conditioned on, per picture and for classifier-free guidance.
// B pictures, T tokens, D context width.

import Diffusion
import Shapes
import Tensors

/// Conditions of B pictures with their unconditional counterparts.
public struct TextConditions {
    /// `[B, T, D]`.
    public let conditional: Tensor
    /// `[B, T, D]`: the empty (or negative) prompt, once per picture.
    public let unconditional: Tensor

    /// - Precondition: equal shapes.
    public init(conditional: Tensor, unconditional: Tensor) {
        precondition(
            conditional.shape == unconditional.shape && conditional.rank == 3,
            "text conditions: \(conditional.shape) and \(unconditional.shape)")
        self.conditional = conditional
        self.unconditional = unconditional
    }

    /// Conditions of prompts in the words of the shapes world.
    ///
    /// - Throws: `PipelineError.noTextEncoder`, `.vocabulary`, and `CaptionError` for unknown words.
    public init(prompts: [String], pipeline: DiffusionPipeline) throws {
        guard let encoder = pipeline.textEncoder else { throw PipelineError.noTextEncoder }
        let words = WordTokenizer.vocabularySize
        guard encoder.config.vocabSize == words else {
            throw PipelineError.vocabulary(expected: words, found: encoder.config.vocabSize)
        }
        let tokenizer = WordTokenizer(length: encoder.config.maxLength)
        let ids = try prompts.flatMap { try tokenizer.encode($0) }
        let empty = prompts.flatMap { _ in tokenizer.emptyPrompt }
        (conditional, unconditional) = withoutGradients {
            (encoder(ids, batch: prompts.count), encoder(empty, batch: prompts.count))
        }
    }

    public var count: Int { conditional.shape[0] }

    /// The pictures `range` of these.
    public subscript(range: Range<Int>) -> TextConditions {
        TextConditions(
            conditional: conditional.sliced(axis: 0, range),
            unconditional: unconditional.sliced(axis: 0, range))
    }
}
