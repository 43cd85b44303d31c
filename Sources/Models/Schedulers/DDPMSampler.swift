// SPDX-License-Identifier: Apache-2.0
// Ancestral sampling of DDPM (Ho et al. 2020, arXiv:2006.11239, eq. 7).
// Matches diffusers `DDPMScheduler` (schedulers/scheduling_ddpm.py) with fixed variances.

import Tensors

/// DDPM: each step draws from the posterior of the next sample. Makes one prediction per step.
public struct DDPMSampler: DiffusionSampler {
    public let steps: Int
    public let timesteps: [Float]
    public var position = 0
    private let config: SamplerConfig
    private let trainingTimesteps: [Int]

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        trainingTimesteps = try config.ascendingTimesteps(steps).reversed()
        try config.checkSignal(trainingTimesteps, for: .ddpm)
        timesteps = trainingTimesteps.map { Float($0) }
        self.steps = steps
        self.config = config
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let alphas = config.schedule.alphasCumprod
        let timestep = trainingTimesteps[position]
        position += 1
        let now = Double(alphas[timestep])
        // ā after the last step is 1.
        let next = position < trainingTimesteps.count ? Double(alphas[trainingTimesteps[position]]) : 1
        let beta = 1 - now / next
        let original = config.clipped(
            config.schedule.predictionType.originalSample(
                prediction, sample, signal: Float(now.squareRoot()), noise: Float((1 - now).squareRoot())))
        let mean =
            Float(next.squareRoot() * beta / (1 - now)) * original
            + Float((1 - beta).squareRoot() * (1 - next) / (1 - now)) * sample
        guard timestep > 0 else { return mean }
        let variance: Double
        switch config.ddpmVariance {
        case .fixedSmall, .fixedSmallLog: variance = max((1 - next) / (1 - now) * beta, 1e-20)
        case .fixedLarge: variance = beta
        }
        return mean + Float(variance.squareRoot()) * noise(sample.shape)
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) {
        config.noiseLevel(trainingTimesteps[index])
    }
}
