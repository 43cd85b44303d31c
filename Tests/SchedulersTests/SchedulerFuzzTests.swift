// SPDX-License-Identifier: Apache-2.0
// Damaged scheduler configs give errors or samplers with valid timesteps, never a crash; `make fuzz` runs this test
// with sanitizers.

import Files
import Foundation
import TestKit
import Testing

@testable import Schedulers

@Suite struct SchedulerFuzzTests {
    private static let common =
        #""beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 100, "#
        + #""prediction_type": "v_prediction", "rescale_betas_zero_snr": true, "steps_offset": 1, "#
        + #""timestep_spacing": "leading", "trained_betas": null"#

    /// Keys that only some classes have, in all of them.
    private static let options =
        #""clip_sample": true, "clip_sample_range": 2.5, "set_alpha_to_one": false, "skip_prk_steps": false, "#
        + #""solver_order": 2, "solver_type": "heun", "lower_order_final": true, "euler_at_final": true, "#
        + #""final_sigmas_type": "sigma_min", "lambda_min_clipped": -5.1, "use_karras_sigmas": true, "#
        + #""sigma_min": 0.1, "sigma_max": 9.5, "disable_corrector": [0, 2], "original_inference_steps": 50, "#
        + #""timestep_scaling": 10.0, "variance_type": "fixed_small", "thresholding": false, "#
        + #""interpolation_type": "linear""#

    @Test("damaged scheduler configs give errors or samplers with valid timesteps", arguments: SamplerKind.allCases)
    func configs(kind: SamplerKind) throws {
        let sound = "{\"_class_name\": \"\(kind.className)\", \(Self.common), \(Self.options)}"
        let pipelines: [SchedulerPipeline] = [.other, .stableDiffusion, .stableDiffusionXL]
        let errors: [any CategorizedError.Type] = [ConfigError.self, SamplerError.self]
        let refused = fuzz(200, seed: 31, share: 0.1, errors: errors) { mutator in
            let json = Data(mutator.text(sound))
            let config = try SamplerConfig(json: json, for: kind, in: mutator.element(pipelines))
            let sampler = try config.sampler(kind, steps: mutator.element([1, 2, 5, 20, 100, 1000]))
            let range = 0...Float(config.schedule.trainTimesteps)
            #expect(sampler.timesteps.allSatisfy { range.contains(Float($0)) })
        }
        #expect(refused > 0.05 && refused < 1)
    }
}
