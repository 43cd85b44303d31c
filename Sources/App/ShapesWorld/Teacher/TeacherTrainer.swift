// SPDX-License-Identifier: Apache-2.0
// Trains the full-precision shapes model that the project ships: UNet and text encoder from scratch.

import BitsFusion
import Foundation

/// One training run of a teacher.
public final class TeacherTrainer {
    public let config: TeacherTrainingConfig
    public let pipeline: DiffusionPipeline
    public let loop: TrainingLoop
    private let objective: TeacherObjective
    /// What the run starts from, for the identity of a resumed run: nil for random weights.
    let start: String?

    /// A run from random initial weights (seed: the config's), or from those of another model.
    ///
    /// - Parameters:
    ///   - config: data and training.
    ///   - unetConfig: the architecture.
    ///   - start: a model of the same architecture to go on from, and a name for it that changes with its contents.
    /// - Throws: `TrainingConfigError`; `ParameterError` for an impossible architecture, or one that is not `start`'s.
    public init(
        _ config: TeacherTrainingConfig, unetConfig: UNet2DConditionConfig,
        from start: (pipeline: DiffusionPipeline, identity: String)? = nil
    ) throws {
        try config.validate()
        guard unetConfig.inChannels == 3, unetConfig.outChannels == 3 else {
            throw TrainingConfigError.unsuitableModel(
                key: "in_channels, out_channels",
                value: "\(unetConfig.inChannels), \(unetConfig.outChannels)",
                expected: "3, 3")
        }
        guard unetConfig.crossAttentionDim.allSatisfy({ $0 == config.textEncoder.hiddenSize }) else {
            throw TrainingConfigError.unsuitableModel(
                key: "cross_attention_dim", value: "\(unetConfig.crossAttentionDim)",
                expected: "\(config.textEncoder.hiddenSize), the text encoder's hidden_size")
        }
        let seed = config.training.seed
        func provider(_ model: ParameterStore?) -> any ParameterProvider {
            model.map { TensorParameterProvider(copying: $0) } ?? RandomParameterProvider(seed: seed)
        }
        let unet = try UNet2DConditionModel(
            config: unetConfig,
            parameters: ParameterPath(ParameterStore(provider: provider(start?.pipeline.unet.store))))
        unet.checkpointing = config.training.checkpointing
        let encoder = try CLIPTextModel(
            config: config.textEncoder,
            parameters: ParameterPath(ParameterStore(provider: provider(start?.pipeline.textEncoder?.store))))
        self.config = config
        self.start = start?.identity
        pipeline = try DiffusionPipeline(
            unet: unet, textEncoder: encoder, tokenizerName: ShapesTokenizer.name,
            schedulerJSON: try Self.schedulerJSON(config.schedule))
        objective = TeacherObjective(
            unet: unet, textEncoder: encoder, schedule: config.schedule,
            dataset: ShapesDataset(seed: seed, mixture: try config.familyMixture()),
            textDropping: config.textDropping,
            timesteps: config.timesteps,
            weighting: config.weighting)
        loop = TrainingLoop(
            config.training,
            groups: [
                ParameterGroup(
                    unet.store.parameters + encoder.store.parameters,
                    learningRate: config.training.learningRate,
                    weightDecay: config.training.weightDecay)
            ])
    }

    /// Runs the steps that are left; see `TrainingLoop.run`.
    @discardableResult
    public func run(
        progress: (Int, Int, LossRecord) -> Void, save: () throws -> Void, shouldStop: () -> Bool
    ) throws -> Bool {
        try loop.run(
            objective: { part, random in objective(part, random: &random) }, progress: progress,
            save: save,
            shouldStop: shouldStop)
    }

    /// Runs `body` with the weights that are shipped: their moving average where one is kept.
    public func withFinalWeights<R>(_ body: (DiffusionPipeline) throws -> R) rethrows -> R {
        guard let average = loop.average else { return try body(pipeline) }
        return try average.withAverages { try body(pipeline) }
    }

    /// A diffusers `scheduler_config.json` of the schedule; clipping suits images in [-1, 1].
    static func schedulerJSON(_ schedule: NoiseSchedule) throws -> String {
        let encoder = JSONEncoder()
        var object = try JSONSerialization.jsonObject(with: encoder.encode(schedule)) as? [String: Any] ?? [:]
        object["_class_name"] = "PNDMScheduler"
        object["clip_sample"] = false
        object["set_alpha_to_one"] = false
        object["skip_prk_steps"] = true
        object["steps_offset"] = 1
        object["timestep_spacing"] = "leading"
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .prettyPrinted])
        return String(decoding: data, as: UTF8.self)
    }
}
