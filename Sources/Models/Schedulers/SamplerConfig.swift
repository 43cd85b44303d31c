// SPDX-License-Identifier: Apache-2.0
// Options of the samplers, with the keys and defaults of diffusers' scheduler_config.json (scheduling_ddim.py,
// scheduling_pndm.py and scheduling_dpmsolver_multistep.py in schedulers/).

import Files
import Foundation

/// The samplers. Raw values are the names on the command line.
public enum SamplerKind: String, Codable, Sendable, CaseIterable {
    case ddim
    case pndm
    case dpmSolverMultistep = "dpm++"
}

/// How inference timesteps are selected from the training timesteps (Lin et al. 2023, arXiv:2305.08891, table 2).
public enum TimestepSpacing: String, Codable, Sendable, CaseIterable {
    /// Equal integer steps from 0 upwards, plus `stepsOffset`.
    case leading
    /// Evenly spaced from the first to the last training timestep.
    case linspace
    /// Equal steps from the last training timestep downwards.
    case trailing
}

/// The second-order solver of DPM-Solver++ (`solver_type`).
public enum DPMSolverType: String, Codable, Sendable, CaseIterable {
    case midpoint, heun
}

/// The noise level after the last step of DPM-Solver++ (`final_sigmas_type`).
public enum FinalSigmas: String, Codable, Sendable, CaseIterable {
    case zero
    case sigmaMin = "sigma_min"
}

/// The options of all samplers. The defaults are those of Stable Diffusion's `scheduler_config.json`.
public struct SamplerConfig: Sendable, Equatable, Codable {
    public var schedule = NoiseSchedule()
    /// nil: the default of the sampler, `leading` for DDIM and PNDM, `linspace` for DPM-Solver++.
    public var timestepSpacing: TimestepSpacing?
    /// Added to each timestep with `leading` spacing.
    public var stepsOffset = 1
    /// DDIM and PNDM: after the last step, ā is 1 instead of that of timestep 0.
    public var setAlphaToOne = false
    /// DDIM: the predicted noiseless sample is clipped to ± this value; nil for no clipping.
    public var clipSampleRange: Double?
    /// PNDM: the first step is repeated once, in place of three Runge-Kutta steps.
    public var skipPRKSteps = true
    /// DPM-Solver++: the order, 1 or 2.
    public var solverOrder = 2
    /// DPM-Solver++: the second-order solver.
    public var solverType = DPMSolverType.midpoint
    /// DPM-Solver++: with fewer than 15 steps, the last step has order 1.
    public var lowerOrderFinal = true
    /// DPM-Solver++: the last step always has order 1.
    public var eulerAtFinal = false
    /// DPM-Solver++: the noise level after the last step.
    public var finalSigmas = FinalSigmas.zero

    /// Stable Diffusion's options.
    public init() {}
}

extension SamplerConfig {
    /// Reads diffusers' `scheduler_config.json` for a sampler of `kind`. The file may belong to another scheduler.
    ///
    /// An absent key has the default of diffusers' scheduler of that kind, not Stable Diffusion's value.
    ///
    /// - Throws: `ConfigError`, which names the key and its value, for an unknown key and for a value that these
    ///   samplers do not implement.
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
        try Self.rejectOtherOptions(&reader)
        try reader.finish()
    }

    /// Options of diffusers' DDIM, PNDM and DPM-Solver schedulers that are implemented for their default value only.
    private static func rejectOtherOptions(_ reader: inout ConfigReader) throws(ConfigError) {
        try reader.mustBeDefault("thresholding", .bool(false))
        try reader.mustBeDefault("rescale_betas_zero_snr", .bool(false))
        try reader.mustBeDefault("algorithm_type", .string("dpmsolver++"))
        try reader.mustBeDefault("use_karras_sigmas", .bool(false))
        try reader.mustBeDefault("use_exponential_sigmas", .bool(false))
        try reader.mustBeDefault("use_beta_sigmas", .bool(false))
        try reader.mustBeDefault("use_lu_lambdas", .bool(false))
        try reader.mustBeDefault("use_flow_sigmas", .bool(false))
        try reader.mustBeDefault("use_dynamic_shifting", .bool(false))
        try reader.mustBeDefault("lambda_min_clipped", .double(-.infinity))
        try reader.mustBeDefault("variance_type")
        // These have an effect only together with an option that is refused above.
        for key in ["dynamic_thresholding_ratio", "sample_max_value", "flow_shift"] {
            _ = try reader.number(key)
        }
        try reader.mustBeDefault("time_shift_type", .string("exponential"))
    }
}
