// SPDX-License-Identifier: Apache-2.0
// Trains the full-precision shapes model that the project ships: UNet and text encoder.

import BitsFusion
import Foundation

/// One training run of a teacher.
public final class TeacherTrainer: Trainer {
    public let config: TeacherTrainingConfig
    /// UNet and text encoder.
    public let model: DiffusionPipeline
    public let loop: TrainingLoop
    private let objective: TeacherObjective
    /// nil without validation.
    private let validation: ValidationDraws?
    /// Identifies the initial weights of the run; nil for random weights.
    private let start: String?
    /// Identifies the CLIP-proxy whose text encoder the model has.
    private let clipProxy: String?

    /// A run from random initial weights, drawn from the config's seed, or from the weights of another model.
    ///
    /// - Parameters:
    ///   - config: data and training.
    ///   - unetConfig: the architecture.
    ///   - start: a model of the same architecture to continue from, and an identity that changes with its contents.
    ///   - clipProxy: the proxy of `config.clipProxy`, and an identity that changes with its contents.
    ///   - validationSize: the number of samples of `validationLoss`; 0 for none. The training does not depend on it.
    ///   - communicator: the processes that share the work. The result does not depend on their number.
    ///   - shardsOptimizer: as for `TrainingLoop`.
    /// - Throws: `TrainingConfigError`; `ParameterError` for an invalid architecture, or one that differs from
    ///   `start`'s.
    public init(
        _ config: TeacherTrainingConfig, unetConfig: any DenoiserConfig,
        from start: (pipeline: DiffusionPipeline, identity: String)? = nil,
        clipProxy: (proxy: ClipProxy, identity: String)? = nil, validationSize: Int = 0,
        communicator: any Communicator = SingleProcess(), shardsOptimizer: Bool = false
    ) throws {
        try config.validate()
        guard unetConfig.inChannels == 3, unetConfig.outChannels == 3 else {
            throw TrainingConfigError.unsuitableModel(
                key: "in_channels, out_channels",
                value: "\(unetConfig.inChannels), \(unetConfig.outChannels)",
                expected: "3, 3")
        }
        guard (config.clipProxy == nil) == (clipProxy == nil),
            let textConfig = config.textEncoder ?? clipProxy?.proxy.config.textConfig
        else {
            throw TrainingConfigError.range(
                key: "clipProxy", value: config.clipProxy ?? "none",
                expected: "a CLIP-proxy, if and only if the trainer gets one")
        }
        if clipProxy != nil { try TeacherTrainingConfig.validate(textConfig, key: "clipProxy") }
        if let (proxy, _) = clipProxy, let own = start?.pipeline.textEncoder {
            let found = Dictionary(uniqueKeysWithValues: proxy.store.entries.map { ($0.key, $0.source) })
            guard own.store.entries.allSatisfy({ found[$0.key]?.tensor().values == $0.source.tensor().values }) else {
                throw TrainingConfigError.range(
                    key: "clipProxy", value: config.clipProxy ?? "",
                    expected: "the CLIP-proxy whose text encoder the model to start from has")
            }
        }
        guard unetConfig.contextSize == textConfig.hiddenSize else {
            throw TrainingConfigError.unsuitableModel(
                key: "cross_attention_dim", value: "\(unetConfig.contextSize)",
                expected: "\(textConfig.hiddenSize), the text encoder's hidden_size")
        }
        let seed = config.training.seed
        func provider(_ model: ParameterStore?) -> any ParameterProvider {
            model.map { TensorParameterProvider(copying: $0) } ?? RandomParameterProvider(seed: seed)
        }
        let denoiser = try unetConfig.model(
            ParameterPath(ParameterStore(provider: provider(start?.pipeline.denoiser.store))), timeFeatures: nil)
        denoiser.checkpointing = config.training.checkpointing
        let encoder = try CLIPTextModel(
            config: textConfig,
            parameters: ParameterPath(
                ParameterStore(provider: provider(clipProxy?.proxy.store ?? start?.pipeline.textEncoder?.store))))
        self.config = config
        self.start = start?.identity
        self.clipProxy = clipProxy?.identity
        model = try DiffusionPipeline(
            denoiser: denoiser, textEncoder: encoder, tokenizerName: ShapesTokenizer.name,
            schedulerJSON: try Self.schedulerJSON(config.schedule))
        objective = TeacherObjective(
            denoiser: denoiser, textEncoder: encoder, trainsTextEncoder: clipProxy == nil, schedule: config.schedule,
            dataset: ShapesDataset(seed: seed, mixture: try config.familyMixture()),
            textDropping: config.textDropping,
            timesteps: config.timesteps,
            weighting: config.weighting)
        validation =
            validationSize > 0
            ? ValidationDraws(
                validationSize, from: config.timesteps, trainTimesteps: config.schedule.trainTimesteps, seed: seed)
            : nil
        loop = TrainingLoop(
            config.training,
            groups: [
                ParameterGroup(
                    denoiser.store.parameters + (clipProxy == nil ? encoder.store.parameters : []),
                    learningRate: config.training.learningRate,
                    weightDecay: config.training.weightDecay)
            ], communicator: communicator, shardsOptimizer: shardsOptimizer)
    }

    public func loss(of part: MicroBatch, random: inout Philox) -> StepLoss { objective(part, random: &random) }

    /// The mean training loss over samples that are never trained on, with fixed timesteps and noise and the weights
    /// that are shipped.
    ///
    /// - Parameter shouldStop: called between batches.
    /// - Returns: nil when stopped, and in a run without validation.
    public func validationLoss(shouldStop: () -> Bool = { false }) -> ValidationLoss? {
        guard let draws = validation else { return nil }
        return withFinalWeights { _ in
            draws.mean(batchSize: loop.options.samplesAtOnce, shouldStop: shouldStop) { samples in
                objective.loss(
                    from: ShapesDataset.firstValidationIndex + samples.lowerBound,
                    timesteps: Array(draws.timesteps[samples])
                ) { draws.noise($0, from: samples.lowerBound) }
            }
        }
    }

    /// Settings, and the model that the run started from.
    public struct Identity: Encodable {
        var config: TeacherTrainingConfig
        var start: String?
        var clipProxy: String?
    }

    public var identity: Identity {
        var fixed = config
        fixed.training = fixed.training.decidingResults
        return Identity(config: fixed, start: start, clipProxy: clipProxy)
    }

    public var fileFormat: CheckpointFormat { .model }

    /// Writes the model with its final weights, and the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; a file of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    ///   - type: the element type of the model's parameters. The state is stored in Float32.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func write(to path: String, manifest: RunManifest, as type: ElementType = .float32) throws {
        try withFinalState { try $0.writeModel(to: path, manifest: manifest, as: type, training: $1) }
    }

    /// A diffusers `scheduler_config.json` of the schedule: Stable Diffusion's sampler; with zero terminal SNR, DDIM
    /// that starts at the last timestep (Lin et al. 2023, arXiv:2305.08891, sections 3.1 and 3.3) and ends without
    /// noise.
    static func schedulerJSON(_ schedule: NoiseSchedule) throws -> String {
        let encoder = JSONEncoder()
        var object = try JSONSerialization.jsonObject(with: encoder.encode(schedule)) as? [String: Any] ?? [:]
        object["clip_sample"] = false
        if schedule.rescalesBetasZeroSNR {
            object["_class_name"] = SamplerKind.ddim.className
            object["set_alpha_to_one"] = true
            object["timestep_spacing"] = "trailing"
        } else {
            object["_class_name"] = SamplerKind.pndm.className
            object["set_alpha_to_one"] = false
            object["skip_prk_steps"] = true
            object["steps_offset"] = 1
            object["timestep_spacing"] = "leading"
        }
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .prettyPrinted])
        return String(decoding: data, as: UTF8.self)
    }
}
