// SPDX-License-Identifier: Apache-2.0
// Options of the samplers, as diffusers' scheduler_config.json names them.

import Files
import Foundation

/// The samplers, by the names of the command line.
public enum SamplerKind: String, Codable, Sendable, CaseIterable {
    case ddim
    case pndm
    case dpmSolverMultistep = "dpm++"
}

/// How inference timesteps are picked from the training timesteps (Lin et al. 2023, arXiv:2305.08891, table 2).
public enum TimestepSpacing: String, Codable, Sendable, CaseIterable {
    /// From 0 (plus `stepsOffset`) upwards in equal integer steps.
    case leading
    /// Evenly between the first and the last one.
    case linspace
    /// From the last one downwards.
    case trailing
}

/// Solver of the second-order steps of DPM-Solver++.
public enum DPMSolverType: String, Codable, Sendable, CaseIterable {
    case midpoint, heun
}

/// The noise level behind the last step of DPM-Solver++.
public enum FinalSigmas: String, Codable, Sendable, CaseIterable {
    case zero
    case sigmaMin = "sigma_min"
}

/// What a sampler is configured with. The defaults are those of Stable Diffusion's scheduler_config.json.
public struct SamplerConfig: Sendable, Equatable, Codable {
    public var schedule = NoiseSchedule()
    /// nil: the sampler's own default, `leading` for DDIM and PNDM, `linspace` for DPM-Solver++.
    public var timestepSpacing: TimestepSpacing?
    /// Added to every timestep with `leading` spacing.
    public var stepsOffset = 1
    /// DDIM and PNDM: the last step ends without noise instead of at the noise level of timestep 0.
    public var setAlphaToOne = false
    /// DDIM: clips the predicted noiseless sample to ± this; nil for none.
    public var clipSampleRange: Double?
    /// PNDM: begins with one refined step and rising orders instead of three Runge-Kutta steps.
    public var skipPRKSteps = true
    /// DPM-Solver++: 1 or 2.
    public var solverOrder = 2
    /// DPM-Solver++.
    public var solverType = DPMSolverType.midpoint
    /// DPM-Solver++: the last of fewer than 15 steps is of first order.
    public var lowerOrderFinal = true
    /// DPM-Solver++: the last step is always of first order.
    public var eulerAtFinal = false
    /// DPM-Solver++.
    public var finalSigmas = FinalSigmas.zero

    /// Stable Diffusion's options.
    public init() {}
}

extension SamplerConfig {
    /// Reads diffusers' `scheduler_config.json` for the sampler `kind`; the file may be another sampler's.
    ///
    /// Absent keys mean what they mean to diffusers' scheduler of that kind, not Stable Diffusion's values.
    /// - Throws: `ConfigError`, naming the key and value, for a key that is unknown or set to something that
    ///   these samplers do not compute.
    public init(json: Data, for kind: SamplerKind) throws(ConfigError) {
        let name = "scheduler_config.json"
        var reader = try ConfigReader(
            JSONValue(parsing: json, name: name), name: name, nullable: ["trained_betas", "variance_type"])
        try reader.mustBeDefault("trained_betas")
        let start = try reader.number("beta_start", "numbers in [0, 1)") { (0..<1).contains($0) } ?? 0.0001
        let end = try reader.number("beta_end", "numbers in [0, 1)") { (0..<1).contains($0) } ?? 0.02
        schedule = NoiseSchedule(
            betaSchedule: try reader.choice("beta_schedule", as: BetaSchedule.self) ?? .linear,
            betaStart: start,
            betaEnd: end,
            trainTimesteps: try reader.integer("num_train_timesteps", in: 1...1_000_000) ?? 1000,
            predictionType: try reader.choice("prediction_type", as: PredictionType.self) ?? .epsilon)
        timestepSpacing = try reader.choice("timestep_spacing", as: TimestepSpacing.self)
        stepsOffset = try reader.integer("steps_offset", in: 0...1_000_000) ?? 0
        setAlphaToOne = try reader.bool("set_alpha_to_one", default: kind == .ddim)
        let clips = try reader.bool("clip_sample", default: kind == .ddim)
        let range = try reader.number("clip_sample_range", "numbers above 0") { $0 > 0 } ?? 1
        clipSampleRange = clips ? range : nil
        skipPRKSteps = try reader.bool("skip_prk_steps", default: false)
        solverOrder = try reader.integer("solver_order", in: 1...2) ?? 2
        solverType = try reader.choice("solver_type", as: DPMSolverType.self) ?? .midpoint
        lowerOrderFinal = try reader.bool("lower_order_final", default: true)
        eulerAtFinal = try reader.bool("euler_at_final", default: false)
        finalSigmas = try reader.choice("final_sigmas_type", as: FinalSigmas.self) ?? .zero
        try Self.refuseOtherOptions(&reader)
        try reader.finish()
    }

    /// Options that these samplers follow only in their default, by diffusers' DDIM, PNDM and DPM-Solver schedulers.
    private static func refuseOtherOptions(_ reader: inout ConfigReader) throws(ConfigError) {
        try reader.mustBeDefault("thresholding", .bool(false))
        try reader.mustBeDefault("rescale_betas_zero_snr", .bool(false))
        try reader.mustBeDefault("algorithm_type", .string("dpmsolver++"))
        try reader.mustBeDefault("use_karras_sigmas", .bool(false))
        try reader.mustBeDefault("use_exponential_sigmas", .bool(false))
        try reader.mustBeDefault("use_beta_sigmas", .bool(false))
        try reader.mustBeDefault("use_lu_lambdas", .bool(false))
        try reader.mustBeDefault("use_flow_sigmas", .bool(false))
        try reader.mustBeDefault("use_dynamic_shifting", .bool(false))
        try reader.mustBeDefault("lambda_min_clipped", .number(-.infinity))
        try reader.mustBeDefault("variance_type")
        // Read by diffusers only together with an option that is refused above.
        for key in ["dynamic_thresholding_ratio", "sample_max_value", "flow_shift"] {
            _ = try reader.number(key)
        }
        try reader.mustBeDefault("time_shift_type", .string("exponential"))
    }
}
