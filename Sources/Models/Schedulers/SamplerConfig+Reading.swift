// SPDX-License-Identifier: Apache-2.0
// Reads diffusers' scheduler_config.json as `from_config` does: a config may belong to another scheduler class, and
// keys that the chosen class does not have are ignored.

import Files
import Foundation

/// The diffusers pipeline that a scheduler config is used in.
public enum SchedulerPipeline: Sendable {
    /// One that follows the config: pixel-space and unconditional pipelines.
    case other
    /// `StableDiffusionPipeline` and its variants. They set `clip_sample` to false and `steps_offset` to 1.
    case stableDiffusion
    /// `StableDiffusionXLPipeline` and its variants. `clip_sample` is followed where the config has it, else false.
    case stableDiffusionXL
}

extension SamplerConfig {
    static let documentName = "scheduler_config.json"

    /// Reads diffusers' `scheduler_config.json` for a sampler of `kind`. The file may belong to another scheduler.
    ///
    /// An absent key has the default of diffusers' scheduler of that kind, not Stable Diffusion's value.
    ///
    /// - Parameters:
    ///   - json: the file.
    ///   - kind: the sampler.
    ///   - pipeline: what reads the file in diffusers.
    /// - Throws: `ConfigError`, which names the key and its value, for an option of the scheduler of that kind that
    ///   changes its results and is not implemented.
    public init(
        json: Data, for kind: SamplerKind, in pipeline: SchedulerPipeline = .other
    ) throws(ConfigError) {
        let document = try JSONValue(parsing: json, name: Self.documentName)
        var options = kind.options
        // Of all options that not every class has, this one belongs to the noise schedule.
        let isRescalable = options.remove(.rescaling) != nil
        schedule = try NoiseSchedule(document, defaultsOf: kind, isRescalable: isRescalable)
        var reader = try ConfigReader(
            document.keeping(options), name: Self.documentName, nullable: Self.nullableOptions)
        timestepSpacing = try reader.choice("timestep_spacing", as: TimestepSpacing.self)
        stepsOffset = try reader.integer("steps_offset", in: 0...1_000_000) ?? 0
        setAlphaToOne = try reader.bool("set_alpha_to_one", default: kind == .ddim)
        let clips = try reader.bool("clip_sample", default: kind == .ddim || kind == .ddpm)
        let range = try reader.number("clip_sample_range", "numbers above 0") { $0 > 0 } ?? 1
        clipSampleRange = clips ? range : nil
        skipPRKSteps = try reader.bool("skip_prk_steps", default: kind != .pndm)
        try readSolver(&reader, for: kind)
        try readSigmas(&reader)
        originalInferenceSteps =
            try reader.integer("original_inference_steps", in: 1...schedule.trainTimesteps) ?? originalInferenceSteps
        timestepScaling = try reader.number("timestep_scaling", "numbers above 0") { $0 > 0 } ?? timestepScaling
        try rejectOtherOptions(&reader, for: kind)
        try reader.finish()
        switch pipeline {
        case .other:
            break
        case .stableDiffusion:
            clipSampleRange = nil
            stepsOffset = 1
        case .stableDiffusionXL:
            if document["clip_sample"] == nil { clipSampleRange = nil }
        }
    }

    private static let nullableOptions: Set<String> = [
        "variance_type", "sigma_min", "sigma_max", "solver_p", "shift_terminal", "use_karras_sigmas",
        "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
    ]

    private mutating func readSolver(_ reader: inout ConfigReader, for kind: SamplerKind) throws(ConfigError) {
        solverOrder = try reader.integer("solver_order", in: 1...(kind == .unipc ? 3 : 2)) ?? solverOrder
        // diffusers replaces the solver types of other schedulers by the default.
        let solver = try reader.string("solver_type")
        let foreign: Set<String> = kind == .unipc ? ["midpoint", "heun", "logrho"] : ["bh1", "bh2", "logrho"]
        if let solver, !foreign.contains(solver) {
            if kind == .unipc {
                unipcSolverType = try reader.choice("solver_type", as: UniPCSolverType.self) ?? unipcSolverType
            } else {
                solverType = try reader.choice("solver_type", as: DPMSolverType.self) ?? solverType
            }
        }
        lowerOrderFinal = try reader.bool("lower_order_final", default: true)
        eulerAtFinal = try reader.bool("euler_at_final", default: false)
        if let limit = reader.value("lambda_min_clipped") {
            guard let number = limit.double, number < .infinity else {
                throw reader.unsupported("lambda_min_clipped", limit, "numbers, -Infinity")
            }
            lambdaMinClipped = number == -.infinity ? nil : number
        }
        if let steps = reader.value("disable_corrector") {
            guard let indices = steps.elements?.map(\.integer), !indices.contains(nil) else {
                throw reader.unsupported("disable_corrector", steps, "lists of integers")
            }
            disableCorrector = Set(indices.compactMap { $0 })
        }
    }

    private mutating func readSigmas(_ reader: inout ConfigReader) throws(ConfigError) {
        finalSigmas = try reader.choice("final_sigmas_type", as: FinalSigmas.self) ?? .zero
        useKarrasSigmas = try reader.bool("use_karras_sigmas", default: false)
        sigmaMin = try reader.number("sigma_min", "numbers above 0") { $0 > 0 }
        sigmaMax = try reader.number("sigma_max", "numbers above 0") { $0 > 0 }
    }

    /// Options of diffusers' schedulers that are implemented for some values only.
    private mutating func rejectOtherOptions(
        _ reader: inout ConfigReader, for kind: SamplerKind
    ) throws(ConfigError) {
        switch kind {
        case .ddpm:
            ddpmVariance = try reader.choice("variance_type", as: DDPMVariance.self) ?? .fixedSmall
        default:
            // The other variance types are DDPM's, and DPM-Solver ignores them.
            if let value = reader.value("variance_type"), value.text?.hasPrefix("learned") ?? true {
                throw reader.unsupported("variance_type", value, "null")
            }
        }
        for key in [
            "thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
            "use_dynamic_shifting",
        ] {
            try reader.mustBeDefault(key, .bool(false))
        }
        // diffusers' DPM-Solver takes DEIS for dpmsolver++.
        try reader.mustBeDefault("algorithm_type", .string("dpmsolver++"), .string("deis"))
        try reader.mustBeDefault("predict_x0", .bool(true))
        try reader.mustBeDefault("interpolation_type", .string("linear"))
        if schedule.predictionType == .vPrediction {
            try reader.mustBeDefault("timestep_type", .string("discrete"))
        } else {
            // Continuous timesteps are used for velocity prediction only.
            try reader.mustBeDefault("timestep_type", .string("discrete"), .string("continuous"))
        }
        try reader.mustBeDefault("solver_p")
        // These have an effect only together with an option that is refused above.
        for key in ["dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "shift_terminal"] {
            _ = try reader.number(key)
        }
        _ = try reader.string("time_shift_type")
    }
}

extension String {
    fileprivate static let rescaling = "rescale_betas_zero_snr"
}

extension JSONValue {
    /// An object without the members whose keys are not in `keys`; other values unchanged.
    fileprivate func keeping(_ keys: Set<String>) -> JSONValue {
        members.map { .object($0.filter { keys.contains($0.key) }) } ?? self
    }
}

extension NoiseSchedule {
    /// Reads the noise schedule of diffusers' `scheduler_config.json`, and no other keys. The file may belong to a
    /// scheduler that has no sampler here.
    ///
    /// An absent key has the default of the file's own scheduler class.
    ///
    /// - Throws: `ConfigError`, which names the key and its value, also for a class without such a schedule: flow
    ///   matching and EDM.
    public init(schedulerJSON json: Data) throws(ConfigError) {
        let document = try JSONValue(parsing: json, name: SamplerConfig.documentName)
        let kind = try? SamplerKind(json: json)
        try self.init(
            document, defaultsOf: kind ?? .ddim, isRescalable: kind?.options.contains(.rescaling) ?? true)
    }

    fileprivate init(_ document: JSONValue, defaultsOf kind: SamplerKind, isRescalable: Bool) throws(ConfigError) {
        if let name = document["_class_name"]?.text, name.hasPrefix("FlowMatch") || name.hasPrefix("EDM") {
            throw .unsupported(
                key: "_class_name", value: "\"\(name)\"", supported: "schedulers with a beta_schedule")
        }
        let keys: Set<String> = [
            "trained_betas", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "prediction_type",
        ]
        var reader = try ConfigReader(
            document.keeping(isRescalable ? keys.union([.rescaling]) : keys), name: SamplerConfig.documentName,
            nullable: ["trained_betas"])
        let isLatent = kind == .heun || kind == .lcm
        let start = try reader.number("beta_start", "numbers in [0, 1)") { (0..<1).contains($0) }
        let end = try reader.number("beta_end", "numbers in [0, 1)") { (0..<1).contains($0) }
        let schedule = try reader.choice("beta_schedule", as: BetaSchedule.self)
        let count = try reader.integer("num_train_timesteps", in: 1...1_000_000) ?? 1000
        let trained = try Self.trainedBetas(&reader, count: count)
        let type = try reader.choice("prediction_type", as: PredictionType.self)
        let rescales = try reader.bool(.rescaling, default: false)
        try reader.finish()
        self.init(
            betaSchedule: schedule ?? (kind == .lcm ? .scaledLinear : .linear),
            betaStart: start ?? (isLatent ? 0.00085 : 0.0001), betaEnd: end ?? (isLatent ? 0.012 : 0.02),
            trainTimesteps: count, predictionType: type ?? .epsilon, trainedBetas: trained,
            rescalesBetasZeroSNR: rescales)
    }

    private static func trainedBetas(_ reader: inout ConfigReader, count: Int) throws(ConfigError) -> [Double]? {
        guard let elements = try reader.list("trained_betas") else { return nil }
        let betas = elements.compactMap(\.double).filter { (0..<1).contains($0) }
        guard elements.count == count, betas.count == count else {
            throw .unsupported(
                key: "trained_betas", value: "of \(elements.count) elements",
                supported: "lists of \(count) (num_train_timesteps) numbers in [0, 1)")
        }
        return betas
    }
}
