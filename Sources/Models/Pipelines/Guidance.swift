// SPDX-License-Identifier: Apache-2.0
// Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) as Stable Diffusion applies it: one forward
// pass over the unconditional and the conditional batch together. B batch, T tokens, D context width.

import Networks
import Tensors

/// Something that predicts the noise (or velocity) of a sample at a timestep.
public protocol NoisePredictor {
    /// `sample` `[B, C, H, W]` -> the prediction, the same shape.
    func predict(_ sample: Tensor, timestep: Int) -> Tensor

    /// Checks before a run that every one of `timesteps` can be predicted at.
    func validate(timesteps: [Int]) throws
}

extension NoisePredictor {
    /// Accepts every timestep.
    public func validate(timesteps: [Int]) throws {}
}

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

/// What one half of a guided batch is conditioned on.
public struct Conditions {
    /// `[B, T, D]`; nil for a model without cross-attention.
    public let encoderHiddenStates: Tensor?
    /// SDXL's further conditions.
    public let added: AddedConditions?

    /// Conditions of a batch.
    public init(encoderHiddenStates: Tensor?, added: AddedConditions? = nil) {
        self.encoderHiddenStates = encoderHiddenStates
        self.added = added
    }
}

/// A UNet with fixed conditions, guided where there is something to guide away from.
public struct GuidedPredictor: NoisePredictor {
    private let model: UNet2DConditionModel
    private let conditions: Conditions
    private let guidanceScale: Float
    private let isGuided: Bool

    /// A predictor for one batch of prompts.
    ///
    /// - Parameters:
    ///   - model: the UNet.
    ///   - conditional: conditions of the prompts.
    ///   - unconditional: those of the empty or negative prompts, of the same shapes; nil turns guidance off.
    ///   - guidanceScale: 1 turns guidance off and halves the work.
    public init(
        _ model: UNet2DConditionModel, conditional: Conditions, unconditional: Conditions? = nil,
        guidanceScale: Float = 1
    ) {
        self.model = model
        self.guidanceScale = guidanceScale
        if let unconditional, guidanceScale != 1 {
            isGuided = true
            conditions = Conditions(
                encoderHiddenStates: Self.joined(
                    unconditional.encoderHiddenStates, conditional.encoderHiddenStates),
                added: Self.joined(unconditional.added?.textEmbeds, conditional.added?.textEmbeds).flatMap {
                    text in
                    Self.joined(unconditional.added?.timeIDs, conditional.added?.timeIDs).map {
                        AddedConditions(textEmbeds: text, timeIDs: $0)
                    }
                })
        } else {
            isGuided = false
            conditions = conditional
        }
    }

    public func predict(_ sample: Tensor, timestep: Int) -> Tensor {
        let timesteps = Tensor([Float(timestep)], shape: [1])
        guard isGuided else { return forward(sample, timesteps) }
        let both = forward(.concatenated([sample, sample], axis: 0), timesteps)
        let batch = sample.shape[0]
        return guided(
            unconditional: both.sliced(axis: 0, 0..<batch),
            conditional: both.sliced(axis: 0, batch..<(2 * batch)), scale: guidanceScale)
    }

    public func validate(timesteps: [Int]) throws {
        try model.timeFeatures?.validate(timesteps: timesteps)
    }

    private func forward(_ sample: Tensor, _ timesteps: Tensor) -> Tensor {
        model(
            sample, timesteps: timesteps, encoderHiddenStates: conditions.encoderHiddenStates,
            addedConditions: conditions.added)
    }

    private static func joined(_ first: Tensor?, _ second: Tensor?) -> Tensor? {
        guard let first, let second else {
            precondition(
                first == nil && second == nil, "guidance: one of the two conditions is missing a tensor")
            return nil
        }
        return .concatenated([first, second], axis: 0)
    }
}
