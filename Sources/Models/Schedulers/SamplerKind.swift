// SPDX-License-Identifier: Apache-2.0
// The samplers by name: on the command line, and as the `_class_name` of diffusers' scheduler_config.json.

import Files
import Foundation

/// The samplers. Raw values are the names on the command line.
public enum SamplerKind: String, Codable, Sendable, CaseIterable {
    case ddim
    case pndm
    case dpmSolverMultistep = "dpm++"
    /// DPM-Solver++ with Karras sigmas, whatever the config says.
    case dpmSolverMultistepKarras = "dpm++-karras"
    case euler
    case eulerAncestral = "euler-ancestral"
    case heun
    case unipc
    case lcm
    case ddpm
}

extension SamplerKind {
    /// The diffusers class that the sampler matches.
    public var className: String {
        switch self {
        case .ddim: "DDIMScheduler"
        case .pndm: "PNDMScheduler"
        case .dpmSolverMultistep, .dpmSolverMultistepKarras: "DPMSolverMultistepScheduler"
        case .euler: "EulerDiscreteScheduler"
        case .eulerAncestral: "EulerAncestralDiscreteScheduler"
        case .heun: "HeunDiscreteScheduler"
        case .unipc: "UniPCMultistepScheduler"
        case .lcm: "LCMScheduler"
        case .ddpm: "DDPMScheduler"
        }
    }

    /// The sampler that a model comes with: that of the `_class_name` of its scheduler_config.json.
    ///
    /// - Throws: `ConfigError.unsupported` for a scheduler class that has no sampler here, `.missing` without a class.
    public init(json: Data) throws(ConfigError) {
        let document = try JSONValue(parsing: json, name: SamplerConfig.documentName)
        guard document.members != nil else { throw .notAnObject(document: SamplerConfig.documentName) }
        guard let name = document["_class_name"] else {
            throw .missing(key: "_class_name", neededBy: "the default sampler")
        }
        guard let kind = Self.allCases.first(where: { .string($0.className) == name }) else {
            let known = Self.allCases.filter { $0 != .dpmSolverMultistepKarras }.map(\.className)
            throw .unsupported(
                key: "_class_name", value: name.description, supported: known.joined(separator: ", "))
        }
        self = kind
    }

    /// The options of the diffusers class, apart from those of the noise schedule that all classes have.
    ///
    /// `sigma_min` and `sigma_max` are options of Euler and UniPC, but diffusers' Karras sigmas read them from the
    /// config of any class.
    var options: Set<String> {
        let spacing = ["timestep_spacing", "steps_offset"]
        let clipping = ["clip_sample", "clip_sample_range"]
        let thresholding = ["thresholding", "dynamic_thresholding_ratio", "sample_max_value"]
        let sigmas = [
            "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "sigma_min", "sigma_max",
        ]
        let flow = ["use_flow_sigmas", "flow_shift", "use_dynamic_shifting", "time_shift_type"]
        let multistep = ["solver_order", "solver_type", "lower_order_final", "final_sigmas_type"]
        let own: [[String]]
        switch self {
        case .ddim:
            own = [clipping, thresholding, ["set_alpha_to_one", "rescale_betas_zero_snr"]]
        case .ddpm:
            own = [clipping, thresholding, ["variance_type", "rescale_betas_zero_snr"]]
        case .pndm:
            own = [["skip_prk_steps", "set_alpha_to_one"]]
        case .euler:
            own = [sigmas, ["interpolation_type", "timestep_type", "rescale_betas_zero_snr", "final_sigmas_type"]]
        case .eulerAncestral:
            own = [["rescale_betas_zero_snr"]]
        case .heun:
            own = [sigmas, clipping]
        case .unipc:
            own = [
                sigmas, flow, multistep, thresholding,
                ["predict_x0", "disable_corrector", "solver_p", "shift_terminal", "rescale_betas_zero_snr"],
            ]
        case .dpmSolverMultistep, .dpmSolverMultistepKarras:
            own = [
                sigmas, flow, multistep, thresholding,
                [
                    "algorithm_type", "euler_at_final", "use_lu_lambdas", "lambda_min_clipped", "variance_type",
                    "rescale_betas_zero_snr",
                ],
            ]
        case .lcm:
            own = [
                clipping, thresholding,
                ["set_alpha_to_one", "original_inference_steps", "timestep_scaling", "rescale_betas_zero_snr"],
            ]
        }
        return Set(spacing + own.joined())
    }
}

extension SamplerConfig {
    /// A sampler of `kind` with these options and `steps` inference steps.
    ///
    /// - Throws: `SamplerError`.
    public func sampler(_ kind: SamplerKind, steps: Int) throws(SamplerError) -> any DiffusionSampler {
        switch kind {
        case .ddim: return try DDIMSampler(steps: steps, config: self)
        case .pndm: return try PNDMSampler(steps: steps, config: self)
        case .dpmSolverMultistep: return try DPMSolverMultistepSampler(steps: steps, config: self)
        case .dpmSolverMultistepKarras:
            var config = self
            config.useKarrasSigmas = true
            return try DPMSolverMultistepSampler(steps: steps, config: config)
        case .euler: return try EulerSampler(steps: steps, config: self)
        case .eulerAncestral: return try EulerAncestralSampler(steps: steps, config: self)
        case .heun: return try HeunSampler(steps: steps, config: self)
        case .unipc: return try UniPCSampler(steps: steps, config: self)
        case .lcm: return try LCMSampler(steps: steps, config: self)
        case .ddpm: return try DDPMSampler(steps: steps, config: self)
        }
    }
}
