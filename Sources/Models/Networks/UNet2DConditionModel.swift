// SPDX-License-Identifier: Apache-2.0
// The conditional UNet of Stable Diffusion and its relatives. Matches diffusers `UNet2DConditionModel`
// (models/unets/unet_2d_condition.py), keys letter for letter.
// B batch, IC/OC sample channels, H W sample size, T context tokens, D context width.

import Layers
import Tensors

/// SDXL's conditions beside the text tokens (`added_cond_kwargs`).
public struct AddedConditions {
    /// Pooled text features, `[B, P]`.
    public let textEmbeds: Tensor
    /// Original size, crop and target size in pixels, `[B, 6]`; SDXL's refiner has five of its own.
    public let timeIDs: Tensor

    /// Conditions of a batch; both tensors have one row per sample.
    public init(textEmbeds: Tensor, timeIDs: Tensor) {
        self.textEmbeds = textEmbeds
        self.timeIDs = timeIDs
    }
}

/// Predicts the noise (or velocity) in a sample, given the timestep and the text.
public final class UNet2DConditionModel {
    /// The architecture.
    public let config: UNet2DConditionConfig
    /// Every parameter and every layer with an exchangeable weight.
    public let store: ParameterStore
    /// When set, residual blocks take their time features from here, and the time layers are not used.
    public var timeFeatures: (any TimeFeatureSource)?
    /// What a forward pass keeps for the backward pass; nothing else depends on it.
    public var checkpointing = GradientCheckpointing.none

    private let stages: [UNetStage]
    private let timeProjection: SinusoidalFeatures
    private let timeEmbedding: TimestepEmbedding?
    private let addTimeProjection: SinusoidalFeatures?
    private let addEmbedding: TimestepEmbedding?
    private let encoderHidProj: Linear?
    /// Every residual block, in the order of computation.
    let resnets: [ResnetBlock2D]

    /// Builds the model and asks for every parameter below `parameters` (the root of a UNet's state_dict).
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - parameters: `ParameterPath(store)`.
    ///   - timeFeatures: cached features. When given, `time_embedding` and every `time_emb_proj` are left out and may
    ///     be missing from the checkpoint.
    /// - Throws: the provider's error or `ParameterError`; `TimeFeatureError` when `timeFeatures` are not this
    ///   model's.
    public init(
        config: UNet2DConditionConfig, parameters: ParameterPath, timeFeatures: (any TimeFeatureSource)? = nil
    ) throws {
        self.config = config
        self.timeFeatures = timeFeatures
        store = parameters.store
        let first = config.blockOutChannels[0]
        let convIn = try Conv2d(
            parameters / "conv_in", in: config.inChannels, out: first, kernel: config.convInKernel,
            padding: Padding((config.convInKernel - 1) / 2))
        timeProjection = SinusoidalFeatures(
            channels: first, cosineFirst: config.flipSinToCos, frequencyShift: config.freqShift)
        timeEmbedding =
            timeFeatures != nil
            ? nil
            : try TimestepEmbedding(
                parameters / "time_embedding", in: first, out: config.timeEmbeddingDim,
                activation: config.actFn,
                lastActivation: config.timestepPostAct)
        encoderHidProj = try config.encoderHidDim.map {
            try Linear(parameters / "encoder_hid_proj", in: $0, out: config.crossAttentionDim[0])
        }
        if let channels = config.additionTimeEmbedDim, let width = config.projectionClassEmbeddingsInputDim {
            addTimeProjection = SinusoidalFeatures(
                channels: channels, cosineFirst: config.flipSinToCos, frequencyShift: config.freqShift)
            addEmbedding = try TimestepEmbedding(
                parameters / "add_embedding", in: width, out: config.timeEmbeddingDim, activation: .silu)
        } else {
            addTimeProjection = nil
            addEmbedding = nil
        }
        let plan = UNetPlan(config, hasTimeLayers: timeFeatures == nil)
        let downBlocks = try plan.downBlocks(parameters / "down_blocks")
        let midBlock = try plan.midBlock(parameters / "mid_block")
        let upBlocks = try plan.upBlocks(parameters / "up_blocks")
        let convNormOut = try GroupNorm(
            parameters / "conv_norm_out", channels: first, groups: config.normNumGroups,
            epsilon: config.normEps,
            activation: config.actFn)
        let convOut = try Conv2d(
            parameters / "conv_out", in: first, out: config.outChannels, kernel: config.convOutKernel,
            padding: Padding((config.convOutKernel - 1) / 2))
        resnets = downBlocks.flatMap(\.resnets) + (midBlock?.resnets ?? []) + upBlocks.flatMap(\.resnets)
        let centers = config.centerInputSample
        let opening = UNetStage([convIn.path]) { state, _, _ in
            state.hidden = convIn(centers ? 2 * state.hidden - 1 : state.hidden)
            state.skips = [state.hidden]
        }
        let closing = UNetStage([convOut.path]) { state, _, _ in
            state.hidden = convOut(convNormOut(state.hidden))
        }
        stages =
            [opening] + downBlocks.flatMap(\.stages) + (midBlock?.stages ?? [])
            + upBlocks.flatMap(\.stages) + [closing]
        if let table = timeFeatures as? TimeFeatureTable { try table.validate(for: self) }
    }

    /// The path and number of values per timestep of every residual block's time feature, in order.
    public var timeFeatureChannels: [(resnetPath: String, channels: Int)] {
        resnets.map { ($0.path, $0.timeFeatureChannels) }
    }

    /// True for the layers that cached time features replace: they are not quantized.
    public static func isTimeLayer(_ path: String) -> Bool {
        path.hasPrefix("time_embedding.") || path.hasSuffix(".time_emb_proj")
    }

    /// One noise prediction.
    ///
    /// - Parameters:
    ///   - sample: `[B, IC, H, W]`, any H and W.
    ///   - timesteps: `[B]`, or `[1]` for the whole batch.
    ///   - encoderHiddenStates: `[B, T, D]`; nil only for a model without cross-attention.
    ///   - addedConditions: SDXL's further conditions, needed if and only if the config has `addition_embed_type`.
    ///   - features: collects the output of every block when given.
    /// - Returns: `[B, OC, H, W]`.
    /// - Precondition: shapes as above.
    public func callAsFunction(
        _ sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor? = nil,
        addedConditions: AddedConditions? = nil, features: BlockFeatures? = nil
    ) -> Tensor {
        var state = begin(sample)
        let conditioning = conditioning(
            timesteps: timesteps, encoderHiddenStates: encoderHiddenStates, addedConditions: addedConditions,
            batch: sample.shape[0])
        features?.reset()
        for stage in stages {
            stage.run(&state, conditioning, checkpointing)
            switch stage.ending {
            case .down: features?.addDown(state.hidden)
            case .mid: features?.setMid(state.hidden)
            case .up: features?.addUp(state.hidden)
            case nil: break
            }
        }
        return state.hidden
    }

    /// The time embedding behind the activation that every residual block begins with, `[N, timeEmbeddingDim]`;
    /// nil for a model built without time layers.
    func timeEmbedding(_ timesteps: Tensor, adding addition: Tensor? = nil) -> Tensor? {
        guard let timeEmbedding else { return nil }
        var embedding = timeEmbedding(timeProjection(timesteps))
        if let addition { embedding = embedding + addition }
        if let activation = config.timeEmbeddingActFn { embedding = activation(embedding) }
        return config.actFn(embedding)
    }

    // MARK: Stage by stage

    /// The number of stages that a forward pass goes through.
    public var stageCount: Int { stages.count }

    /// The stage that the layer at `path` is first used in; nil for layers that the conditioning is made with.
    public func stage(ofLayer path: String) -> Int? { stages.firstIndex { $0.contains(path) } }

    /// The state before the first stage, for a sample `[B, IC, H, W]`.
    public func begin(_ sample: Tensor) -> UNetState {
        precondition(
            sample.rank == 4 && sample.shape[1] == config.inChannels,
            "UNet: sample has shape \(sample.shape), expected [B, \(config.inChannels), H, W]")
        return UNetState(hidden: sample)
    }

    /// What all stages depend on beside the state; parameters as for a whole pass, `batch` samples.
    public func conditioning(
        timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions? = nil, batch: Int
    ) -> UNetConditioning {
        precondition(
            timesteps.rank == 1 && (timesteps.count == batch || timesteps.count == 1),
            "UNet: timesteps have shape \(timesteps.shape), expected [\(batch)] or [1]")
        return UNetConditioning(
            time: timeConditioning(timesteps, addedConditions),
            context: context(encoderHiddenStates, batch: batch))
    }

    /// Goes on with a pass: after all stages `state.hidden` is the prediction, bit-equal to that of a whole pass.
    ///
    /// - Parameters:
    ///   - state: before the first of `range`.
    ///   - range: indices of stages, `0 ..< stageCount` for a whole pass.
    ///   - conditioning: of the whole pass.
    public func run(
        _ state: inout UNetState, stages range: Range<Int>, _ conditioning: UNetConditioning
    ) {
        for stage in stages[range] { stage.run(&state, conditioning, checkpointing) }
    }

    private func timeConditioning(_ timesteps: Tensor, _ added: AddedConditions?) -> TimeConditioning {
        precondition(
            (added != nil) == (addEmbedding != nil),
            "UNet: added conditions are \(added == nil ? "missing" : "given"), but the config has addition_embed_type "
                + (config.additionEmbedType?.rawValue ?? "null"))
        if let timeFeatures { return .features(timeFeatures, timesteps: timesteps) }
        guard let embedding = timeEmbedding(timesteps, adding: added.map(additionalEmbedding)) else {
            preconditionFailure("UNet: built without time layers, so timeFeatures must be set")
        }
        return .embedding(embedding)
    }

    /// SDXL: text features and the sinusoidal features of the time ids, embedded together; `[B, timeEmbeddingDim]`.
    private func additionalEmbedding(_ added: AddedConditions) -> Tensor {
        guard let addTimeProjection, let addEmbedding else {
            preconditionFailure("UNet: added conditions for a model without add_embedding")
        }
        let batch = added.textEmbeds.shape[0]
        precondition(
            added.timeIDs.shape.first == batch,
            "UNet: text embeds \(added.textEmbeds.shape) and time ids \(added.timeIDs.shape) differ in batch")
        let sizes = addTimeProjection(added.timeIDs).reshaped([batch, -1])
        return addEmbedding(.concatenated([added.textEmbeds, sizes], axis: 1))
    }

    private func context(_ encoderHiddenStates: Tensor?, batch: Int) -> Tensor? {
        guard let encoderHiddenStates else { return nil }
        precondition(
            encoderHiddenStates.rank == 3 && encoderHiddenStates.shape[0] == batch,
            "UNet: encoderHiddenStates have shape \(encoderHiddenStates.shape), expected [\(batch), T, D]")
        return encoderHidProj.map { $0(encoderHiddenStates) } ?? encoderHiddenStates
    }
}
