// SPDX-License-Identifier: Apache-2.0
// The options of the samplers, named after the keys of diffusers' scheduler_config.json.

import Foundation

/// The second-order solver of DPM-Solver++ (`solver_type`).
public enum DPMSolverType: String, Codable, Sendable, CaseIterable {
    case midpoint, heun
}

/// The function B(h) of UniPC (`solver_type`).
public enum UniPCSolverType: String, Codable, Sendable, CaseIterable {
    /// B(h) = h.
    case bh1
    /// B(h) = exp(h) - 1.
    case bh2
}

/// The noise level after the last step (`final_sigmas_type`).
public enum FinalSigmas: String, Codable, Sendable, CaseIterable {
    case zero
    case sigmaMin = "sigma_min"
}

/// The variance of the noise that DDPM adds (`variance_type`).
public enum DDPMVariance: String, Codable, Sendable, CaseIterable {
    /// The variance of the posterior of x_{t-1} given x_t and x_0.
    case fixedSmall = "fixed_small"
    /// The same variance; diffusers computes it from its logarithm.
    case fixedSmallLog = "fixed_small_log"
    /// Beta.
    case fixedLarge = "fixed_large"
}

/// The options of all samplers. The defaults are those of Stable Diffusion's `scheduler_config.json`.
public struct SamplerConfig: Sendable, Equatable, Codable {
    public var schedule = NoiseSchedule()
    /// nil: the default of the sampler, `leading` for DDIM, DDPM and PNDM, `linspace` for the others. Without effect on
    /// LCM.
    public var timestepSpacing: TimestepSpacing?
    /// Added to each timestep with `leading` spacing.
    public var stepsOffset = 1
    /// DDIM and PNDM: after the last step, ā is 1 instead of that of timestep 0.
    public var setAlphaToOne = false
    /// DDIM, DDPM, Heun and LCM: the predicted noiseless sample is clipped to ± this value; nil for no clipping.
    public var clipSampleRange: Double?
    /// PNDM: the first step is repeated once, in place of three Runge-Kutta steps.
    public var skipPRKSteps = true
    /// DPM-Solver++ and UniPC: the order, 1 or 2; UniPC also 3.
    public var solverOrder = 2
    /// DPM-Solver++: the second-order solver.
    public var solverType = DPMSolverType.midpoint
    /// DPM-Solver++: with fewer than 15 steps, the last step has order 1. UniPC: the last steps have orders down to 1.
    public var lowerOrderFinal = true
    /// DPM-Solver++: the last step always has order 1.
    public var eulerAtFinal = false
    /// DPM-Solver++, UniPC and Euler: the noise level after the last step.
    public var finalSigmas = FinalSigmas.zero
    /// DPM-Solver++: timesteps with log(alpha / sigma) below this value are not used; nil for no limit.
    public var lambdaMinClipped: Double?
    /// DPM-Solver++, UniPC, Euler and Heun: the noise levels are those of Karras et al. (arXiv:2206.00364, eq. 5).
    public var useKarrasSigmas = false
    /// The smallest Karras sigma; nil for the schedule's.
    public var sigmaMin: Double?
    /// The largest Karras sigma; nil for the schedule's.
    public var sigmaMax: Double?
    /// UniPC: the function B(h).
    public var unipcSolverType = UniPCSolverType.bh2
    /// UniPC: the steps whose result is not corrected.
    public var disableCorrector: Set<Int> = []
    /// LCM: the number of steps of the distillation, of which the timesteps are a part.
    public var originalInferenceSteps = 50
    /// LCM: the factor of timesteps in the boundary condition.
    public var timestepScaling = 10.0
    /// DDPM: the variance of the added noise.
    public var ddpmVariance = DDPMVariance.fixedSmall

    /// Stable Diffusion's options.
    public init() {}
}
