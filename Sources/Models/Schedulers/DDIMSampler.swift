// SPDX-License-Identifier: Apache-2.0
// Deterministic DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12 with σ = 0).
// Matches diffusers `DDIMScheduler` (schedulers/scheduling_ddim.py) with eta 0.

import Tensors

/// DDIM without added noise. Makes one prediction per step.
public struct DDIMSampler: DiffusionSampler {
    public let timesteps: [Int]
    private let config: SamplerConfig
    private let stride: Int
    private var position = 0

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        timesteps = try config.ascendingTimesteps(steps).reversed()
        self.config = config
        stride = config.schedule.trainTimesteps / steps
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor {
        precondition(position < timesteps.count, "DDIM: step called more than \(timesteps.count) times")
        let timestep = timesteps[position]
        position += 1
        let now = config.alphaCumprod(timestep), next = config.alphaCumprod(timestep - stride)
        let signal = Float(now.squareRoot()), noise = Float((1 - now).squareRoot())
        var original: Tensor
        let epsilon: Tensor
        switch config.schedule.predictionType {
        case .epsilon:
            original = (sample - noise * prediction) / signal
            epsilon = prediction
        case .vPrediction:
            original = signal * sample - noise * prediction
            epsilon = signal * prediction + noise * sample
        }
        if let range = config.clipSampleRange { original = clamped(original, to: Float(range)) }
        return Float(next.squareRoot()) * original + Float((1 - next).squareRoot()) * epsilon
    }
}

/// `x` with every value clamped to -limit ... limit, without a gradient.
private func clamped(_ x: Tensor, to limit: Float) -> Tensor {
    Tensor(x.values.map { min(max($0, -limit), limit) }, shape: x.shape)
}
