// SPDX-License-Identifier: Apache-2.0
// Deterministic DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12 with σ = 0).
// Matches diffusers `DDIMScheduler` (schedulers/scheduling_ddim.py) with eta 0.

import Tensors

/// DDIM without added noise. Makes one prediction per step.
public struct DDIMSampler: DiffusionSampler {
    public let steps: Int
    public let timesteps: [Float]
    public var position = 0
    private let config: SamplerConfig
    private let trainingTimesteps: [Int]
    private let stride: Int

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        trainingTimesteps = try config.ascendingTimesteps(steps).reversed()
        try config.checkSignal(trainingTimesteps, for: .ddim)
        timesteps = trainingTimesteps.map { Float($0) }
        self.steps = steps
        self.config = config
        stride = config.schedule.trainTimesteps / steps
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let timestep = trainingTimesteps[position]
        position += 1
        let now = config.alphaCumprod(timestep), next = config.alphaCumprod(timestep - stride)
        let (signal, noise) = (Float(now.squareRoot()), Float((1 - now).squareRoot()))
        let type = config.schedule.predictionType
        let original = config.clipped(type.originalSample(prediction, sample, signal: signal, noise: noise))
        let epsilon = type.noise(prediction, sample, signal: signal, noise: noise)
        return Float(next.squareRoot()) * original + Float((1 - next).squareRoot()) * epsilon
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) {
        config.noiseLevel(trainingTimesteps[index])
    }
}
