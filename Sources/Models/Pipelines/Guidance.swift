// SPDX-License-Identifier: Apache-2.0
// Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) as Stable Diffusion applies it: one forward
// pass over the unconditional and the conditional batch together. B batch, C channels, H W size.

import Networks
import Tensors

/// The guided prediction:
///
///     unconditional + scale · (conditional - unconditional)
///
/// - Parameters:
///   - unconditional: prediction for the empty (or negative) prompt.
///   - conditional: prediction for the prompt, the same shape.
///   - scale: 1 gives the conditional prediction, 0 the unconditional one.
/// - Returns: the same shape.
public func guided(unconditional: Tensor, conditional: Tensor, scale: Float) -> Tensor {
    unconditional + scale * (conditional - unconditional)
}

/// A denoiser with fixed conditions.
public struct GuidedPredictor {
    private let denoiser: any Denoiser
    private let inputs: (encoderHiddenStates: Tensor?, added: AddedConditions?)
    private let guidanceScale: Float
    private var isGuided: Bool { guidanceScale != 1 }

    /// A predictor for one batch of prompts.
    ///
    /// - Parameters:
    ///   - denoiser: the model.
    ///   - embeddings: of the batch; nil for a model without cross-attention, which cannot be guided.
    ///   - guidanceScale: 1 turns guidance off and halves the work.
    /// - Precondition: a scale of 1 where there are no embeddings.
    public init(_ denoiser: any Denoiser, _ embeddings: PromptEmbeddings?, guidanceScale: Float = 1) {
        precondition(embeddings != nil || guidanceScale == 1, "guidance: there are no unconditional embeddings")
        self.denoiser = denoiser
        self.guidanceScale = guidanceScale
        inputs = embeddings?.inputs(isGuided: guidanceScale != 1) ?? (nil, nil)
    }

    /// `sample` `[B, C, H, W]` -> the prediction at `timestep`, the same shape.
    public func predict(_ sample: Tensor, timestep: Int) -> Tensor {
        let timesteps = Tensor([Float(timestep)], shape: [1])
        guard isGuided else { return forward(sample, timesteps) }
        let both = forward(.concatenated([sample, sample], axis: 0), timesteps)
        let batch = sample.shape[0]
        return guided(
            unconditional: both.sliced(axis: 0, 0..<batch),
            conditional: both.sliced(axis: 0, batch..<(2 * batch)), scale: guidanceScale)
    }

    /// Checks before a run that the model can predict at each of `timesteps`.
    ///
    /// - Throws: `TimeFeatureError.timestepNotCached`.
    public func validate(timesteps: [Int]) throws {
        try denoiser.timeFeatures?.validate(timesteps: timesteps)
    }

    private func forward(_ sample: Tensor, _ timesteps: Tensor) -> Tensor {
        denoiser(
            sample, timesteps: timesteps, encoderHiddenStates: inputs.encoderHiddenStates,
            addedConditions: inputs.added)
    }
}
