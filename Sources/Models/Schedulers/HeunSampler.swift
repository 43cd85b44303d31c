// SPDX-License-Identifier: Apache-2.0
// Heun's method on the probability flow ODE in sigma (Karras et al. 2022, arXiv:2206.00364, algorithm 1).
// Matches diffusers `HeunDiscreteScheduler` (schedulers/scheduling_heun_discrete.py).

import Tensors

/// Heun: each step but the last makes two predictions, at its start and at its end, and uses their mean.
public struct HeunSampler: DiffusionSampler {
    public let steps: Int
    public let timesteps: [Float]
    public let order = 2
    public var position = 0
    private let config: SamplerConfig
    private let schedule: SigmaSchedule
    /// Sigma at each element of `timesteps`, and 0.
    private let sigmas: [Float]
    /// The start of a step between its two predictions.
    private var start: (sample: Tensor, derivative: Tensor)?

    public var initNoiseSigma: Float { schedule.initNoiseSigma }

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        self.steps = steps
        self.config = config
        schedule = try SigmaSchedule(steps: steps, config: config)
        func twice(_ values: some Sequence<Float>) -> [Float] { values.flatMap { [$0, $0] } }
        timesteps = schedule.timesteps.prefix(1) + twice(schedule.timesteps.dropFirst())
        sigmas = schedule.sigmas.prefix(1) + twice(schedule.sigmas.dropFirst().dropLast()) + schedule.sigmas.suffix(1)
    }

    public func scaleModelInput(_ sample: Tensor) -> Tensor { schedule.scaled(sample, sigma: sigmas[position]) }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let sigma = sigmas[position]
        let original = config.clipped(schedule.originalSample(prediction, sample, sigma: sigma))
        let derivative = (sample - original) / sigma
        position += 1
        guard let first = start else {
            start = (sample, derivative)
            return sample + (sigmas[position] - sigma) * derivative
        }
        start = nil
        // `position` has passed the end of the step; the sigma of its start is two elements back.
        let width = sigma - sigmas[position - 2]
        return first.sample + width * ((first.derivative + derivative) / 2)
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) { (1, sigmas[index]) }
}
