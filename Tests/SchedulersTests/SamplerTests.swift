// SPDX-License-Identifier: Apache-2.0
// Samplers and the noise schedule against diffusers' schedulers.
// Fixture: python Tests/Fixtures/make_sampler_fixtures.py (torch 2.15.0, diffusers 0.42.1).

import Checkpoints
import Files
import Foundation
import Tensors
import TestKit
import Testing

@testable import Schedulers

private struct SamplerFixture: Decodable {
    struct Trajectory: Decodable {
        let sampler: SamplerKind
        /// scheduler_config.json.
        let config: String
        let steps: Int
        /// Of a run that starts from an image; nil for one that starts from noise.
        let strength: Double?
        let initNoiseSigma: Double
        let timesteps: [Double]
        /// The sample before the first step.
        let first: [Double]
        /// The sample after each step.
        let samples: [[Double]]
        /// The image with the noise of the second timestep; empty without `strength`.
        let renoised: [Double]
        /// The number of times that the scheduler draws noise.
        let draws: Int
    }

    struct Noising: Decodable {
        let config: String
        let timesteps: [Int]
        let alphasCumprod: [Double]
        let noisy: [Double]
        let velocity: [Double]
    }

    struct Reading: Decodable {
        struct Reader: Decodable {
            let timesteps: [Double]
            let initNoiseSigma: Double
        }

        let config: String
        let readers: [String: Reader]
    }

    let shape: [Int]
    let trajectories: [Trajectory]
    let noising: [Noising]
    let readings: [Reading]
}

/// The model of the fixture: the mean of the sample and a fixed direction per call.
private func prediction(_ sample: Tensor, call: Int) -> Tensor {
    0.5 * sample + 0.5 * fixtureUnit("prediction.\(call)", sample.shape)
}

@Suite(.tags(.golden)) struct SamplerTests {
    static let trajectories = 0..<113

    @Test("trajectories agree with diffusers", arguments: trajectories)
    func trajectory(index: Int) throws {
        let fixture: SamplerFixture = try fixture("samplers", in: .module)
        #expect(fixture.trajectories.count == Self.trajectories.count)
        let reference = fixture.trajectories[index]
        let name = "\(reference.sampler.rawValue) \(reference.steps) steps \(reference.config)"
        let config = try SamplerConfig(json: Data(reference.config.utf8), for: reference.sampler)
        var sampler = try config.sampler(reference.sampler, steps: reference.steps)
        expectClose(sampler.timesteps, reference.timesteps, .interpolation, name)
        expectClose([sampler.initNoiseSigma], [reference.initNoiseSigma], .interpolation, name)

        let (noise, original) = (fixtureUnit("noise", fixture.shape), fixtureUnit("original", fixture.shape))
        var sample = noise * sampler.initNoiseSigma
        if let strength = reference.strength {
            sampler.position = try sampler.startIndex(strength: strength)
            sample = sampler.addNoise(to: original, noise: noise, at: sampler.position)
        }
        expectClose(sample.values, reference.first, .output, name)
        if !reference.renoised.isEmpty {
            let renoised = sampler.addNoise(to: original, noise: noise, at: sampler.position + 1)
            expectClose(renoised.values, reference.renoised, .output, name)
        }
        #expect(sampler.timesteps.count - sampler.position == reference.samples.count)
        var draws = 0
        for (call, expected) in reference.samples.enumerated() {
            let input = sampler.scaleModelInput(sample)
            sample = sampler.step(prediction(input, call: call), sample: sample) { shape in
                draws += 1
                return fixtureUnit("draw.\(draws - 1)", shape)
            }
            expectClose(sample.values, expected, .output, "\(name), after prediction \(call)")
        }
        #expect(draws == reference.draws)
    }

    @Test("every sampler reads the configs of all scheduler classes as diffusers' from_config", arguments: 0..<19)
    func reading(index: Int) throws {
        let fixture: SamplerFixture = try fixture("samplers", in: .module)
        #expect(fixture.readings.count == 19)
        let reference = fixture.readings[index]
        let json = Data(reference.config.utf8)
        _ = try NoiseSchedule(schedulerJSON: json)
        for kind in SamplerKind.allCases {
            let config = try SamplerConfig(json: json, for: kind)
            if kind == .unipc && !config.lowerOrderFinal {
                // diffusers' UniPC divides by 0 in the last step with the default of DPMSolverSinglestepScheduler.
                #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 5) }
                continue
            }
            let sampler = try config.sampler(kind, steps: 5)
            // diffusers' DPM-Solver refuses the config of DEIS, whose algorithm it takes for dpmsolver++.
            guard let reader = reference.readers[kind.rawValue] else {
                #expect(kind.className == "DPMSolverMultistepScheduler" && reference.config.contains("DEIS"))
                continue
            }
            expectClose(sampler.timesteps, reader.timesteps, .interpolation, "\(kind) of \(reference.config)")
            expectClose([sampler.initNoiseSigma], [reader.initNoiseSigma], .interpolation, "\(kind)")
        }
    }

    @Test("the class of a scheduler config names its sampler; other classes are errors that list the known ones")
    func defaultSampler() throws {
        let classes: [String: SamplerKind] = [
            "DDIMScheduler": .ddim, "PNDMScheduler": .pndm, "DPMSolverMultistepScheduler": .dpmSolverMultistep,
            "EulerDiscreteScheduler": .euler, "EulerAncestralDiscreteScheduler": .eulerAncestral,
            "HeunDiscreteScheduler": .heun, "UniPCMultistepScheduler": .unipc, "LCMScheduler": .lcm,
            "DDPMScheduler": .ddpm,
        ]
        for (name, kind) in classes {
            #expect(try SamplerKind(json: Data(#"{"_class_name": "\#(name)"}"#.utf8)) == kind)
        }
        let known =
            "DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, "
            + "EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler, LCMScheduler, "
            + "DDPMScheduler"
        #expect(
            throws: ConfigError.unsupported(
                key: "_class_name", value: #""DEISMultistepScheduler""#, supported: known)
        ) { try SamplerKind(json: Data(#"{"_class_name": "DEISMultistepScheduler"}"#.utf8)) }
        #expect(throws: ConfigError.missing(key: "_class_name", neededBy: "the default sampler")) {
            try SamplerKind(json: Data("{}".utf8))
        }
        #expect(throws: ConfigError.notAnObject(document: "scheduler_config.json")) {
            try SamplerKind(json: Data("[]".utf8))
        }
    }

    @Test("the default options are those of Stable Diffusion's scheduler_config.json", arguments: SamplerKind.allCases)
    func defaults(kind: SamplerKind) throws {
        let json = """
            {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false,
            "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
            "trained_betas": null}
            """
        #expect(try SamplerConfig(json: Data(json.utf8), for: kind) == SamplerConfig())
    }

    @Test(
        "pipelines change the scheduler config as in diffusers: clip_sample and steps_offset",
        arguments: [
            (#"{"clip_sample": true, "steps_offset": 0}"#, SchedulerPipeline.other, 1.0, 0),
            (#"{}"#, .other, 1.0, 0), (#"{"clip_sample": false}"#, .other, nil, 0),
            (#"{"clip_sample": true, "steps_offset": 0}"#, .stableDiffusion, nil, 1),
            (#"{}"#, .stableDiffusion, nil, 1),
            (#"{"clip_sample": true, "steps_offset": 3}"#, .stableDiffusionXL, 1.0, 3),
            (#"{}"#, .stableDiffusionXL, nil, 0),
        ] as [(String, SchedulerPipeline, Double?, Int)])
    func pipelines(json: String, pipeline: SchedulerPipeline, range: Double?, offset: Int) throws {
        let config = try SamplerConfig(json: Data(json.utf8), for: .ddim, in: pipeline)
        #expect(config.clipSampleRange == range && config.stepsOffset == offset)
    }

    @Test("noise levels, noisy samples and velocities agree with diffusers", arguments: 0..<4)
    func noising(index: Int) throws {
        let fixture: SamplerFixture = try fixture("samplers", in: .module)
        let reference = fixture.noising[index]
        var schedule = try NoiseSchedule(schedulerJSON: Data(reference.config.utf8))
        expectClose(
            schedule.alphasCumprod.enumerated().filter { $0.offset % 111 == 0 }.map(\.element),
            reference.alphasCumprod, Tolerance(relativeToLargest: 1e-6), "alphasCumprod")
        let sample = fixtureUnit("sample", [3, 2, 2]), noise = fixtureUnit("noise", [3, 2, 2])
        let noisy = schedule.addNoise(to: sample, noise: noise, timesteps: reference.timesteps)
        expectClose(noisy.values, reference.noisy, Tolerance(relativeToLargest: 1e-5), "noisy sample")
        #expect(
            schedule.target(sample: sample, noise: noise, timesteps: reference.timesteps).values
                == noise.values)
        // Where ā is 0 or close to it, the sample does not follow from the noise.
        if schedule.alphasCumprod[999] > 1e-3 {
            expectClose(
                schedule.originalSample(noisy: noisy, prediction: noise, timesteps: reference.timesteps), sample,
                Tolerance.output, "noiseless sample from the noise")
        }

        schedule = NoiseSchedule(
            betaSchedule: schedule.betaSchedule, betaStart: schedule.betaStart, betaEnd: schedule.betaEnd,
            predictionType: .vPrediction, rescalesBetasZeroSNR: schedule.rescalesBetasZeroSNR)
        let velocity = schedule.target(sample: sample, noise: noise, timesteps: reference.timesteps)
        expectClose(velocity.values, reference.velocity, Tolerance(relativeToLargest: 1e-5), "velocity")
        expectClose(
            schedule.originalSample(noisy: noisy, prediction: velocity, timesteps: reference.timesteps),
            sample,
            Tolerance.output, "noiseless sample from the velocity")
        let decoded = try JSONDecoder().decode(NoiseSchedule.self, from: JSONEncoder().encode(schedule))
        #expect(decoded == schedule)

        schedule = NoiseSchedule(predictionType: .sample)
        let target = schedule.target(sample: sample, noise: noise, timesteps: reference.timesteps)
        #expect(target.values == sample.values)
        let original = schedule.originalSample(noisy: noisy, prediction: target, timesteps: reference.timesteps)
        #expect(original.values == sample.values)
    }

    @Test("trained betas replace the beta schedule, and are encoded")
    func trainedBetas() throws {
        let schedule = NoiseSchedule(trainTimesteps: 2, trainedBetas: [0.5, 0.25])
        #expect(schedule.alphasCumprod == [0.5, 0.375])
        let decoded = try JSONDecoder().decode(NoiseSchedule.self, from: JSONEncoder().encode(schedule))
        #expect(decoded == schedule)
        for json in [#"{"trained_betas": [0.5]}"#, #"{"trained_betas": [0.5, 2], "num_train_timesteps": 2}"#] {
            let error = #expect(throws: ConfigError.self) { try NoiseSchedule(schedulerJSON: Data(json.utf8)) }
            guard case .unsupported("trained_betas", _, _) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
    }

    @Test(
        "options that are not implemented are errors that name the key and value",
        arguments: [
            (#"{"use_exponential_sigmas": true}"#, .euler, "use_exponential_sigmas", "true"),
            (#"{"use_beta_sigmas": true}"#, .heun, "use_beta_sigmas", "true"),
            (#"{"use_lu_lambdas": true}"#, .dpmSolverMultistep, "use_lu_lambdas", "true"),
            (#"{"use_flow_sigmas": true}"#, .unipc, "use_flow_sigmas", "true"),
            (#"{"interpolation_type": "log_linear"}"#, .euler, "interpolation_type", #""log_linear""#),
            (
                #"{"timestep_type": "continuous", "prediction_type": "v_prediction"}"#, .euler, "timestep_type",
                #""continuous""#
            ),
            (#"{"beta_schedule": "sigmoid"}"#, .ddpm, "beta_schedule", #""sigmoid""#),
            (#"{"beta_start": 1}"#, .ddim, "beta_start", "1"),
            (#"{"prediction_type": "flow_prediction"}"#, .unipc, "prediction_type", #""flow_prediction""#),
            (#"{"algorithm_type": "sde-dpmsolver++"}"#, .dpmSolverMultistep, "algorithm_type", #""sde-dpmsolver++""#),
            (#"{"solver_order": 3}"#, .dpmSolverMultistep, "solver_order", "3"),
            (#"{"solver_order": 4}"#, .unipc, "solver_order", "4"),
            (#"{"solver_type": "other"}"#, .unipc, "solver_type", #""other""#),
            (#"{"predict_x0": false}"#, .unipc, "predict_x0", "false"),
            (#"{"disable_corrector": [0.5]}"#, .unipc, "disable_corrector", "[0.5]"),
            (#"{"lambda_min_clipped": Infinity}"#, .dpmSolverMultistep, "lambda_min_clipped", "inf"),
            (#"{"variance_type": "learned_range"}"#, .dpmSolverMultistep, "variance_type", #""learned_range""#),
            (#"{"variance_type": "learned"}"#, .ddpm, "variance_type", #""learned""#),
            (#"{"thresholding": true}"#, .ddim, "thresholding", "true"),
            (#"{"original_inference_steps": 1001}"#, .lcm, "original_inference_steps", "1001"),
            (#"{"steps_offset": "1"}"#, .ddim, "steps_offset", #""1""#),
            (#"{"timestep_spacing": null}"#, .ddim, "timestep_spacing", "null"),
            (
                #"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#, .ddim, "_class_name",
                #""FlowMatchEulerDiscreteScheduler""#
            ),
        ] as [(String, SamplerKind, String, String)])
    func unsupported(json: String, kind: SamplerKind, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try SamplerConfig(json: Data(json.utf8), for: kind) }
        guard case .unsupported(key, value, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("keys that the scheduler class of a sampler does not have are ignored")
    func ignored() throws {
        let json = Data(
            #"{"use_karras_sigmas": true, "solver_order": 9, "shift": 3.0, "rescale_betas_zero_snr": true}"#.utf8)
        let found = try SamplerConfig(json: json, for: .pndm)
        let expected = try SamplerConfig(json: Data("{}".utf8), for: .pndm)
        #expect(found == expected)
        #expect(try NoiseSchedule(schedulerJSON: json).rescalesBetasZeroSNR)
    }

    @Test("options that contradict each other are errors")
    func contradictions() {
        func option(_ kind: SamplerKind, _ change: (inout SamplerConfig) -> Void) -> String? {
            var config = SamplerConfig()
            change(&config)
            let error = #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 3) }
            guard case .unsupported(let option, _, _) = error else { return nil }
            return option
        }
        func zeroSNR(_ type: PredictionType) -> (inout SamplerConfig) -> Void {
            {
                $0.schedule = NoiseSchedule(predictionType: type, rescalesBetasZeroSNR: true)
                $0.timestepSpacing = .trailing
            }
        }
        for kind in [SamplerKind.ddim, .ddpm, .lcm] {
            #expect(option(kind, zeroSNR(.epsilon)) == "rescale_betas_zero_snr")
        }
        #expect(option(.pndm, zeroSNR(.vPrediction)) == "rescale_betas_zero_snr")
        for kind in [SamplerKind.pndm, .eulerAncestral] {
            #expect(option(kind) { $0.schedule = NoiseSchedule(predictionType: .sample) } == "prediction_type")
        }
        #expect(option(.unipc) { $0.lowerOrderFinal = false } == "lower_order_final")
        #expect(option(.unipc) { $0.solverOrder = 4 } == "solver_order")
        #expect(option(.dpmSolverMultistep) { $0.solverOrder = 3 } == "solver_order")
        #expect(option(.lcm) { $0.originalInferenceSteps = 1001 } == "original_inference_steps")
    }

    @Test("numbers of steps out of range are errors")
    func impossibleSteps() {
        let config = SamplerConfig()
        for kind in SamplerKind.allCases {
            #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 0) }
            #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 1001) }
        }
        let tooMany = SamplerError.timestepBeyondSchedule(timestep: 1000, last: 999, offset: 1)
        #expect(throws: tooMany) { try DDIMSampler(steps: 1000, config: config) }
        #expect(tooMany.category == .usage)
        var withLargeOffset = config
        withLargeOffset.stepsOffset = 1000
        let beyond = SamplerError.timestepBeyondSchedule(timestep: 1000, last: 999, offset: 1000)
        #expect(throws: beyond) { try DDIMSampler(steps: 1, config: withLargeOffset) }
        #expect(beyond.category == .badData)
        var withRungeKutta = config
        withRungeKutta.skipPRKSteps = false
        #expect(throws: SamplerError.self) { try PNDMSampler(steps: 3, config: withRungeKutta) }
        #expect(throws: SamplerError.steps(requested: 51, maximum: 50)) { try LCMSampler(steps: 51, config: config) }
    }

    @Test("a strength that leaves no step is an error; 1 does all steps", arguments: SamplerKind.allCases)
    func strength(kind: SamplerKind) throws {
        let sampler = try SamplerConfig().sampler(kind, steps: 10)
        for strength in [0, 0.09, 1.01, -1, .nan] {
            let error = #expect(throws: SamplerError.self) { try sampler.startIndex(strength: strength) }
            guard case .strength(_, steps: 10) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
        #expect(try sampler.startIndex(strength: 1) == 0)
        #expect(try sampler.startIndex(strength: 0.3) == 7 * sampler.order)
    }
}

extension Tolerance {
    /// Interpolated timesteps and sigmas, whose logarithms are rounded to Float32: two roundings of log(sigma), divided
    /// by its difference of about 0.004 from one timestep to the next.
    fileprivate static let interpolation = Tolerance(relativeToLargest: 1e-6)
}
