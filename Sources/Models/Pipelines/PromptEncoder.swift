// SPDX-License-Identifier: Apache-2.0
// From prompts to the conditions of a denoiser, as the `encode_prompt` functions of diffusers' pipelines
// (pipelines/stable_diffusion/pipeline_stable_diffusion.py, pipelines/stable_diffusion_xl/...).
// B prompts, T tokens, D context size.

import Checkpoints
import Files
import Foundation
import Networks
import Quantization
import Tensors
import Tokenizers

/// How prompts are encoded.
public struct PromptOptions: Sendable {
    /// diffusers' `clip_skip`: the number of layers at the end of the text encoder that are left out; nil for the
    /// model's default.
    public var clipSkip: Int?
    /// Height and width of the images in pixels: a condition of Stable Diffusion XL.
    public var imageSize: SampleSize

    public init(clipSkip: Int? = nil, imageSize: SampleSize = SampleSize(height: 1024, width: 1024)) {
        self.clipSkip = clipSkip
        self.imageSize = imageSize
    }
}

/// The text encoders of a pipeline.
///
/// A model with one text encoder attends to its last hidden state after the final layer norm. A model with two (Stable
/// Diffusion XL) attends to the second to last hidden states of both, side by side, without a norm; the projected
/// pooled output of the second one and the size of the image are further conditions.
public struct PromptEncoder {
    /// In the order of diffusers' pipelines.
    public let encoders: [TextEncoder]
    /// Whether prompts without a negative prompt are guided away from zeros instead of the empty prompt
    /// (`force_zeros_for_empty_prompt`).
    public let usesZerosForMissingNegative: Bool

    /// The text encoders of an open pipeline.
    ///
    /// - Throws: `PipelineError.noTextEncoder`.
    public init(_ pipeline: DiffusionPipeline) throws {
        try self.init(pipeline.textEncoders, modelIndex: pipeline.modelIndexJSON)
    }

    /// Reads the text encoders of a checkpoint.
    ///
    /// - Throws: `PipelineError.noTextEncoder`, and as `TextEncoder.init(_:in:precision:)`.
    public init(_ reader: CheckpointReader, precision: WeightPrecision = .keep16Bit) throws {
        try self.init(
            TextEncoder.names.compactMap { try TextEncoder($0, in: reader, precision: precision) },
            modelIndex: reader.header.modelIndex)
    }

    private init(_ encoders: [TextEncoder], modelIndex: String?) throws {
        guard !encoders.isEmpty else { throw PipelineError.noTextEncoder }
        self.encoders = encoders
        let index = try modelIndex.map { try JSONValue(parsing: Data($0.utf8), name: "model_index.json") }
        // diffusers' default for pipelines with two text encoders.
        usesZerosForMissingNegative = encoders.count > 1 && index?["force_zeros_for_empty_prompt"] != .bool(false)
    }

    /// The type that packed layers quantize their inputs to.
    public func setActivations(_ type: ActivationType) {
        for encoder in encoders { encoder.store.setActivations(type) }
    }

    /// The conditions of `prompts`.
    ///
    /// - Parameters:
    ///   - prompts: B texts.
    ///   - negativePrompts: B texts, or nil for none.
    ///   - options: clip skip and image size.
    /// - Returns: the conditions of B images.
    /// - Throws: `PipelineError.clipSkip`, `TokenizerError.unknown`, the tokenizer's error for text that it cannot
    ///   represent.
    /// - Precondition: equal numbers of prompts.
    public func embeddings(
        _ prompts: [String], negativePrompts: [String]? = nil, options: PromptOptions = PromptOptions()
    ) throws -> PromptEmbeddings {
        precondition(negativePrompts.map { $0.count == prompts.count } ?? true, "prompt encoder: negative prompts")
        try checkClipSkip(options)
        let positive = try encode(tokenIDs: prompts.map(tokenIDs), clipSkip: options.clipSkip ?? 0)
        // As diffusers, without clip skip.
        var negative = try encode(tokenIDs: (negativePrompts ?? prompts.map { _ in "" }).map(tokenIDs))
        if negativePrompts == nil, usesZerosForMissingNegative {
            negative = (.zeros(negative.context.shape), negative.pooled.map { .zeros($0.shape) })
        }
        guard let pooled = positive.pooled, let negativePooled = negative.pooled else {
            return PromptEmbeddings(conditional: positive.context, unconditional: negative.context)
        }
        let ids = timeIDs(options.imageSize, count: prompts.count)
        return PromptEmbeddings(
            conditional: positive.context, unconditional: negative.context,
            added: (
                AddedConditions(textEmbeds: pooled, timeIDs: ids),
                AddedConditions(textEmbeds: negativePooled, timeIDs: ids)
            ))
    }

    /// The end of `prompt` that no text encoder sees, because it has too many tokens; nil where it fits.
    ///
    /// - Throws: as `embeddings`.
    public func truncatedText(_ prompt: String) throws -> String? {
        for encoder in encoders {
            let text = try encoder.requiredTokenizer().tokenize(prompt).truncatedText
            if !text.isEmpty { return text }
        }
        return nil
    }

    /// The token ids of a prompt for each text encoder, `[T]` each.
    ///
    /// - Throws: `TokenizerError.unknown`, the tokenizer's error for text that it cannot represent.
    public func tokenIDs(_ prompt: String) throws -> [[Int32]] {
        try encoders.map { try $0.requiredTokenizer().encode(prompt) }
    }

    /// The embeddings of prompts without text, which training puts in the place of dropped captions: those of the
    /// empty prompt, or zeros where `usesZerosForMissingNegative`.
    ///
    /// - Returns: the context `[1, T, D]` and, with two encoders, the pooled embedding `[1, P]`.
    /// - Throws: as `tokenIDs(_:)`.
    public func emptyEmbedding() throws -> (context: Tensor, pooled: Tensor?) {
        let empty = encode(tokenIDs: [try tokenIDs("")])
        guard usesZerosForMissingNegative else { return empty }
        return (.zeros(empty.context.shape), empty.pooled.map { .zeros($0.shape) })
    }

    /// The embeddings of B prompts, without gradients.
    ///
    /// - Parameters:
    ///   - tokenIDs: for each prompt the ids for each text encoder, as `tokenIDs(_:)`.
    ///   - clipSkip: as in `PromptOptions`.
    /// - Returns: the context `[B, T, D]` and, with two encoders, the pooled embedding `[B, P]`.
    public func encode(tokenIDs: [[[Int32]]], clipSkip: Int = 0) -> (context: Tensor, pooled: Tensor?) {
        var contexts: [Tensor] = []
        var pooled: Tensor?
        for (index, encoder) in encoders.enumerated() {
            let ids = tokenIDs.flatMap { $0[index] }
            withoutGradients {
                if encoders.count == 1 {
                    contexts.append(context(encoder.model, ids, tokenIDs.count, clipSkip))
                } else {
                    let output: CLIPTextOutput
                    if let projected = encoder.projected {
                        let outputs = projected.outputs(ids, batch: tokenIDs.count)
                        (pooled, output) = (outputs.textEmbeds, outputs.encoder)
                    } else {
                        output = encoder.model.outputs(ids, batch: tokenIDs.count)
                    }
                    let states = output.hiddenStates
                    contexts.append(states[states.count - 2 - clipSkip])
                }
            }
        }
        return (contexts.count == 1 ? contexts[0] : .concatenated(contexts, axis: 2), pooled)
    }

    private func context(_ model: CLIPTextModel, _ ids: [Int32], _ batch: Int, _ skip: Int) -> Tensor {
        guard skip > 0 else { return model(ids, batch: batch) }
        let states = model.outputs(ids, batch: batch).hiddenStates
        return model.finalLayerNorm(states[states.count - 1 - skip])
    }

    private func checkClipSkip(_ options: PromptOptions) throws {
        guard let skip = options.clipSkip else { return }
        // Hidden states of the embeddings and of each layer; two encoders start from the second to last.
        let largest = (encoders.map(\.config.numHiddenLayers).min() ?? 0) - (encoders.count > 1 ? 1 : 0)
        guard (0...max(largest, 0)).contains(skip) else {
            throw PipelineError.clipSkip(found: skip, largest: max(largest, 0))
        }
    }

    /// Original size, crop and target size of each image (SDXL, arXiv:2307.01952, section 2.2), `[B, 6]`.
    private func timeIDs(_ size: SampleSize, count: Int) -> Tensor {
        let (height, width) = (Float(size.height), Float(size.width))
        return Tensor(
            (0..<count).flatMap { _ in [height, width, 0, 0, height, width] }, shape: [count, 6])
    }
}

extension PromptEmbeddings {
    /// The text encoders' output for prompts, without negative prompts.
    ///
    /// - Throws: `PipelineError.noTextEncoder`; `TokenizerError.unknown`; the tokenizer's error for text that it cannot
    ///   represent.
    public init(prompts: [String], pipeline: DiffusionPipeline) throws {
        let size = pipeline.imageSize()
        self = try PromptEncoder(pipeline).embeddings(prompts, options: PromptOptions(imageSize: size))
    }
}
