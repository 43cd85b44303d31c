// SPDX-License-Identifier: Apache-2.0
// The conditions of a generation, per image and for classifier-free guidance.
// B images, T tokens, D context size.

import Networks
import Tensors

/// Conditions of B images with their unconditional counterparts.
public struct PromptEmbeddings {
    /// The prompts, `[B, T, D]`.
    public let conditional: Tensor
    /// The empty (or negative) prompt, once per image, `[B, T, D]`.
    public let unconditional: Tensor
    /// SDXL's conditions of the prompts and of the empty prompts; nil for models without them.
    public let added: (conditional: AddedConditions, unconditional: AddedConditions)?

    /// - Precondition: equal shapes.
    public init(
        conditional: Tensor, unconditional: Tensor,
        added: (conditional: AddedConditions, unconditional: AddedConditions)? = nil
    ) {
        precondition(
            conditional.shape == unconditional.shape && conditional.rank == 3,
            "prompt embeddings: \(conditional.shape) and \(unconditional.shape)")
        self.conditional = conditional
        self.unconditional = unconditional
        self.added = added
    }

    public var count: Int { conditional.shape[0] }

    /// Checks that the conditions and samples of `size` are inputs of a model.
    ///
    /// - Throws: `DenoiserInputError`, for the first input that does not fit.
    public func validate(for config: any DenoiserConfig, size: SampleSize?) throws(DenoiserInputError) {
        let sample = config.sampleShape(batch: count, size: size)
        try config.validate(
            sample: [count, config.inChannels] + sample[2...], timestep: [1], encoderHiddenStates: conditional.shape,
            textEmbeds: added?.conditional.textEmbeds.shape, timeIDs: added?.conditional.timeIDs.shape)
    }

    /// The images `range` of these.
    public subscript(range: Range<Int>) -> PromptEmbeddings {
        map { $0.sliced(axis: 0, range) }
    }

    /// The images of all `parts`, in order.
    ///
    /// - Precondition: there is a part, and either all parts have added conditions or none.
    package static func concatenated(_ parts: [PromptEmbeddings]) -> PromptEmbeddings {
        func joined(_ tensor: (PromptEmbeddings) -> Tensor) -> Tensor { .concatenated(parts.map(tensor), axis: 0) }
        let added = parts.compactMap(\.added)
        precondition(added.isEmpty || added.count == parts.count, "prompt embeddings: added conditions are missing")
        func joined(_ conditions: [AddedConditions]) -> AddedConditions {
            AddedConditions(
                textEmbeds: .concatenated(conditions.map(\.textEmbeds), axis: 0),
                timeIDs: .concatenated(conditions.map(\.timeIDs), axis: 0))
        }
        return PromptEmbeddings(
            conditional: joined(\.conditional), unconditional: joined(\.unconditional),
            added: added.isEmpty ? nil : (joined(added.map(\.conditional)), joined(added.map(\.unconditional))))
    }

    /// The inputs of one pass: of the prompts, or, guided, of the empty prompts followed by the prompts.
    package func inputs(isGuided: Bool) -> (encoderHiddenStates: Tensor?, added: AddedConditions?) {
        guard isGuided else { return (conditional, added?.conditional) }
        return inputs([.unconditional, .conditional])
    }

    /// One of the two prompts of an image.
    enum Side { case unconditional, conditional }

    /// The inputs of passes with these prompts, one batch after the other.
    func inputs(_ sides: [Side]) -> (encoderHiddenStates: Tensor?, added: AddedConditions?) {
        let conditions = added.map { added in
            let each = sides.map { $0 == .conditional ? added.conditional : added.unconditional }
            return AddedConditions(
                textEmbeds: .concatenated(each.map(\.textEmbeds), axis: 0),
                timeIDs: .concatenated(each.map(\.timeIDs), axis: 0))
        }
        let states = sides.map { $0 == .conditional ? conditional : unconditional }
        return (.concatenated(states, axis: 0), conditions)
    }

    /// Applies `transform`, which acts on the axis of images, to every tensor.
    package func map(_ transform: (Tensor) -> Tensor) -> PromptEmbeddings {
        func map(_ conditions: AddedConditions) -> AddedConditions {
            AddedConditions(textEmbeds: transform(conditions.textEmbeds), timeIDs: transform(conditions.timeIDs))
        }
        return PromptEmbeddings(
            conditional: transform(conditional), unconditional: transform(unconditional),
            added: added.map { (map($0.conditional), map($0.unconditional)) })
    }
}
