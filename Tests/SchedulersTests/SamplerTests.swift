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
        let fullConfigText: String
        let steps: Int
        let timesteps: [Int]
        let samples: [Double]
    }

    struct Noising: Decodable {
        let config: [String: JSONScalar]
        let timesteps: [Int]
        let alphasCumprod: [Double]
        let noisy: [Double]
        let velocity: [Double]
    }

    let shape: [Int]
    let trajectories: [Trajectory]
    let noising: [Noising]
}

/// A number or a string.
private enum JSONScalar: Codable {
    case number(Double)
    case string(String)

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Double.self) {
            self = .number(number)
        } else {
            self = .string(try container.decode(String.self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .number(let number): try container.encode(number)
        case .string(let string): try container.encode(string)
        }
    }
}

/// The model of the fixture: the mean of the sample and a fixed direction per call.
private func prediction(_ sample: Tensor, call: Int) -> Tensor {
    0.5 * sample + 0.5 * fixtureUnit("prediction.\(call)", sample.shape)
}

@Suite(.tags(.golden)) struct SamplerTests {
    static let trajectories = 0..<25

    @Test("trajectories agree with diffusers", arguments: trajectories)
    func trajectory(index: Int) throws {
        let fixture: SamplerFixture = try fixture("samplers", in: .module)
        #expect(fixture.trajectories.count == Self.trajectories.count)
        let reference = fixture.trajectories[index]
        let config = try SamplerConfig(json: Data(reference.fullConfigText.utf8), for: reference.sampler)
        var sampler = try config.sampler(reference.sampler, steps: reference.steps)
        #expect(sampler.timesteps == reference.timesteps)
        var sample = fixtureUnit("noise", fixture.shape)
        var samples: [Float] = []
        for call in sampler.timesteps.indices {
            sample = sampler.step(prediction(sample, call: call), sample: sample)
            samples += sample.values
        }
        expectClose(
            samples, reference.samples, Tolerance.output,
            "\(reference.sampler.rawValue) \(reference.steps) steps")
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

    @Test("noise levels, noisy samples and velocities agree with diffusers", arguments: 0..<2)
    func noising(index: Int) throws {
        let fixture: SamplerFixture = try fixture("samplers", in: .module)
        let reference = fixture.noising[index]
        let config = try SamplerConfig(json: JSONEncoder().encode(reference.config), for: .ddim)
        var schedule = config.schedule
        expectClose(
            schedule.alphasCumprod.enumerated().filter { $0.offset % 111 == 0 }.map(\.element),
            reference.alphasCumprod, Tolerance(relativeToLargest: 1e-6), "alphasCumprod")
        let sample = fixtureUnit("sample", [3, 2, 2]), noise = fixtureUnit("noise", [3, 2, 2])
        let noisy = schedule.addNoise(to: sample, noise: noise, timesteps: reference.timesteps)
        expectClose(noisy.values, reference.noisy, Tolerance(relativeToLargest: 1e-5), "noisy sample")
        #expect(
            schedule.target(sample: sample, noise: noise, timesteps: reference.timesteps).values
                == noise.values)
        expectClose(
            schedule.originalSample(noisy: noisy, prediction: noise, timesteps: reference.timesteps), sample,
            Tolerance.output, "noiseless sample from the noise")

        schedule = NoiseSchedule(
            betaSchedule: schedule.betaSchedule, betaStart: schedule.betaStart, betaEnd: schedule.betaEnd,
            predictionType: .vPrediction)
        let velocity = schedule.target(sample: sample, noise: noise, timesteps: reference.timesteps)
        expectClose(velocity.values, reference.velocity, Tolerance(relativeToLargest: 1e-5), "velocity")
        expectClose(
            schedule.originalSample(noisy: noisy, prediction: velocity, timesteps: reference.timesteps),
            sample,
            Tolerance.output, "noiseless sample from the velocity")
        let decoded = try JSONDecoder().decode(NoiseSchedule.self, from: JSONEncoder().encode(schedule))
        #expect(decoded == schedule)
    }

    @Test(
        "options that are not implemented are errors that name the key and value",
        arguments: [
            (#"{"use_karras_sigmas": true}"#, "use_karras_sigmas", "true"),
            (#"{"beta_schedule": "squaredcos_cap_v2"}"#, "beta_schedule", "\"squaredcos_cap_v2\""),
            (#"{"prediction_type": "sample"}"#, "prediction_type", "\"sample\""),
            (#"{"algorithm_type": "sde-dpmsolver++"}"#, "algorithm_type", "\"sde-dpmsolver++\""),
            (#"{"thresholding": true}"#, "thresholding", "true"),
            (#"{"shift": 3.0}"#, "shift", "3"),
            (#"{"steps_offset": "1"}"#, "steps_offset", "\"1\""),
        ])
    func unsupported(json: String, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try SamplerConfig(json: Data(json.utf8), for: .ddim) }
        #expect(error?.description.hasPrefix("config key \(key): value \(value) is not supported") == true)
    }

    @Test("numbers of steps out of range are errors")
    func impossibleSteps() {
        let config = SamplerConfig()
        for kind in SamplerKind.allCases {
            #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 0) }
            #expect(throws: SamplerError.self) { try config.sampler(kind, steps: 1001) }
        }
        #expect(throws: SamplerError.timestepBeyondSchedule(timestep: 1000, last: 999)) {
            try DDIMSampler(steps: 1000, config: config)
        }
        var withRungeKutta = config
        withRungeKutta.skipPRKSteps = false
        #expect(throws: SamplerError.self) { try PNDMSampler(steps: 3, config: withRungeKutta) }
    }
}
