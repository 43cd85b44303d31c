// SPDX-License-Identifier: Apache-2.0
// What a generation is conditioned on, per image and for classifier-free guidance.
// B images, T tokens, D context width.

import Tensors
import Tokenizers

/// Conditions of B images with their unconditional counterparts.
public struct PromptEmbeddings {
    /// `[B, T, D]`.
    public let conditional: Tensor
    /// `[B, T, D]`: the empty (or negative) prompt, once per image.
    public let unconditional: Tensor

    /// - Precondition: equal shapes.
    public init(conditional: Tensor, unconditional: Tensor) {
        precondition(
            conditional.shape == unconditional.shape && conditional.rank == 3,
            "text conditions: \(conditional.shape) and \(unconditional.shape)")
        self.conditional = conditional
        self.unconditional = unconditional
    }

    /// The text encoder's output for prompts.
    ///
    /// - Throws: `PipelineError.noTextEncoder`; `TokenizerError.unknown`; the tokenizer's error for text that it cannot
    ///   represent.
    public init(prompts: [String], pipeline: DiffusionPipeline) throws {
        guard let encoder = pipeline.textEncoder, let name = pipeline.tokenizerName else {
            throw PipelineError.noTextEncoder
        }
        let tokenizer =
            try pipeline.tokenizer
            ?? TokenizerRegistry.tokenizer(name, modelMaxLength: encoder.config.maxPositionEmbeddings)
        let ids = try prompts.flatMap { try tokenizer.encode($0) }
        let emptyPrompt = try tokenizer.encode("")
        let empty = prompts.flatMap { _ in emptyPrompt }
        (conditional, unconditional) = withoutGradients {
            (encoder(ids, batch: prompts.count), encoder(empty, batch: prompts.count))
        }
    }

    public var count: Int { conditional.shape[0] }

    /// The images `range` of these.
    public subscript(range: Range<Int>) -> PromptEmbeddings {
        PromptEmbeddings(
            conditional: conditional.sliced(axis: 0, range),
            unconditional: unconditional.sliced(axis: 0, range))
    }
}
