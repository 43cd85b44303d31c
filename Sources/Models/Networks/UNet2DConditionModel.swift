// SPDX-License-Identifier: Apache-2.0
// The conditional UNet of Stable Diffusion and its relatives. Matches diffusers `UNet2DConditionModel`
// (models/unets/unet_2d_condition.py), keys letter for letter.
// B batch, IC/OC sample channels, H W sample size, T context tokens, D context size.

import Layers
import Tensors

/// Predicts the noise (or velocity) in a sample, given the timestep and the text.
public final class UNet2DConditionModel: StagedDenoiser {
    public let config: UNet2DConditionConfig
    public let store: ParameterStore
    public let layerPolicy: any LayerPolicy = UNetLayerPolicy()
    public var timeFeatures: TimeFeatureTable?
    public var checkpointing = GradientCheckpointing.none

    private let stages: [UNetStage]
    private let timeProjection: SinusoidalFeatures
    private let timeEmbedding: TimestepEmbedding?
    private let addTimeProjection: SinusoidalFeatures?
    private let addEmbedding: TimestepEmbedding?
    private let encoderHidProj: Linear?
    /// Every residual block, in the order of computation.
    let resnets: [ResnetBlock2D]

    /// Builds the model and requests every parameter below `parameters` (the root of a UNet's state_dict).
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - parameters: `ParameterPath(store)`.
    ///   - timeFeatures: cached features. When given, `time_embedding` and every `time_emb_proj` are left out and may
    ///     be missing from the checkpoint.
    /// - Throws: the provider's error or `ParameterError`; `TimeFeatureError` when `timeFeatures` are not this
    ///   model's.
    public init(
        config: UNet2DConditionConfig, parameters: ParameterPath, timeFeatures: TimeFeatureTable? = nil
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
        try timeFeatures?.validate(for: self)
    }

    public var timeFeatureChannels: [(path: String, channels: Int)] {
        resnets.map { ($0.path, $0.timeFeatureChannels) }
    }

    public func timeFeatureTable(timesteps: [Int]) throws(TimeFeatureError) -> TimeFeatureTable {
        if let addition = config.additionEmbedType {
            throw .dependsOnConditions(key: "addition_embed_type", value: addition.rawValue)
        }
        var seen: Set<Int> = []
        let distinct = timesteps.filter { seen.insert($0).inserted }
        let embedding = withoutGradients {
            timeEmbedding(Tensor(distinct.map(Float.init), shape: [distinct.count]))
        }
        guard let embedding else { throw .noTimeEmbedding }
        var features: [String: Tensor] = [:]
        for resnet in resnets {
            features[resnet.path] = withoutGradients { resnet.timeFeature(embedding: embedding) }
        }
        return TimeFeatureTable(timesteps: distinct, features: features)
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

    public var stageCount: Int { stages.count }

    public func stage(ofLayer path: String) -> Int? { stages.firstIndex { $0.contains(path) } }

    public func block(endingWith index: Int) -> BlockFeatures.Kind? { stages[index].ending }

    public func begin(_ sample: Tensor) -> DenoiserState {
        precondition(
            sample.rank == 4 && sample.shape[1] == config.inChannels,
            "UNet: sample has shape \(sample.shape), expected [B, \(config.inChannels), H, W]")
        return DenoiserState(hidden: sample)
    }

    public func conditioning(
        timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions?, batch: Int
    ) -> DenoiserConditioning {
        precondition(
            timesteps.rank == 1 && (timesteps.count == batch || timesteps.count == 1),
            "UNet: timesteps have shape \(timesteps.shape), expected [\(batch)] or [1]")
        return DenoiserConditioning(
            timesteps: timesteps, timeEmbedding: timeEmbedding(timesteps, addedConditions), timeFeatures: timeFeatures,
            context: context(encoderHiddenStates, batch: batch))
    }

    public func run(
        _ state: inout DenoiserState, stages range: Range<Int>, _ conditioning: DenoiserConditioning
    ) {
        for stage in stages[range] { stage.run(&state, conditioning, checkpointing) }
    }

    /// The time embedding of a pass; nil where time features are cached.
    private func timeEmbedding(_ timesteps: Tensor, _ added: AddedConditions?) -> Tensor? {
        precondition(
            (added != nil) == (addEmbedding != nil),
            "UNet: added conditions are \(added == nil ? "missing" : "given"), but the config has addition_embed_type "
                + (config.additionEmbedType?.rawValue ?? "null"))
        guard timeFeatures == nil else { return nil }
        guard let embedding = timeEmbedding(timesteps, adding: added.map(additionalEmbedding)) else {
            preconditionFailure("UNet: built without time layers, so timeFeatures must be set")
        }
        return embedding
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
