// SPDX-License-Identifier: Apache-2.0
// Euler's method on the probability flow ODE in sigma (Karras et al. 2022, arXiv:2206.00364, algorithm 2 without
// churn). Matches diffusers `EulerDiscreteScheduler` (schedulers/scheduling_euler_discrete.py).

import Tensors

/// Euler: the scheduler of SDXL. Makes one prediction per step.
public struct EulerSampler: DiffusionSampler {
    public let steps: Int
    public var position = 0
    private let schedule: SigmaSchedule

    public var timesteps: [Float] { schedule.timesteps }
    public var initNoiseSigma: Float { schedule.initNoiseSigma }

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        self.steps = steps
        schedule = try SigmaSchedule(steps: steps, config: config, finalSigmas: config.finalSigmas)
    }

    public func scaleModelInput(_ sample: Tensor) -> Tensor {
        schedule.scaled(sample, sigma: schedule.sigmas[position])
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let (sigma, next) = (schedule.sigmas[position], schedule.sigmas[position + 1])
        position += 1
        let derivative = (sample - schedule.originalSample(prediction, sample, sigma: sigma)) / sigma
        return sample + (next - sigma) * derivative
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) { (1, schedule.sigmas[index]) }
}
