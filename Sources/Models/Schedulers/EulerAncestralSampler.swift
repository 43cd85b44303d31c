// SPDX-License-Identifier: Apache-2.0
// Euler steps to a lower noise level than the next one, and new noise up to it. Matches diffusers
// `EulerAncestralDiscreteScheduler` (schedulers/scheduling_euler_ancestral_discrete.py).

import Tensors

/// Euler ancestral. Makes one prediction and draws noise once per step, the last one included.
public struct EulerAncestralSampler: DiffusionSampler {
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
        try config.checkNoSamplePrediction()
        self.steps = steps
        schedule = try SigmaSchedule(steps: steps, config: config, usesKarras: false)
    }

    public func scaleModelInput(_ sample: Tensor) -> Tensor {
        schedule.scaled(sample, sigma: schedule.sigmas[position])
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let (sigma, next) = (schedule.sigmas[position], schedule.sigmas[position + 1])
        position += 1
        // The variance of the next level is that of the Euler step, down², and that of the new noise, up².
        let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).squareRoot()
        let down = (next * next - up * up).squareRoot()
        let derivative = (sample - schedule.originalSample(prediction, sample, sigma: sigma)) / sigma
        return sample + (down - sigma) * derivative + up * noise(sample.shape)
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) { (1, schedule.sigmas[index]) }
}
