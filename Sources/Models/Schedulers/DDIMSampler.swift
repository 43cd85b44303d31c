// SPDX-License-Identifier: Apache-2.0
// DDIM without added noise (Song et al. 2020, arXiv:2010.02502, eq. 12 with σ = 0).
// Matches diffusers `DDIMScheduler` (schedulers/scheduling_ddim.py) with eta 0.

import Tensors

/// Deterministic DDIM.
public struct DDIMSampler: DiffusionSampler {
    public let timesteps: [Int]
    private let config: SamplerConfig
    private let stride: Int
    private var position = 0

    /// A sampler of `steps` steps, 1 ... trainTimesteps.
    ///
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        timesteps = try config.ascendingTimesteps(steps).reversed()
        self.config = config
        stride = config.schedule.trainTimesteps / steps
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor {
        precondition(position < timesteps.count, "DDIM: all \(timesteps.count) steps are taken")
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

/// `x` with every value moved into -limit ... limit; carries no gradient.
private func clamped(_ x: Tensor, to limit: Float) -> Tensor {
    Tensor(x.values.map { min(max($0, -limit), limit) }, shape: x.shape)
}
