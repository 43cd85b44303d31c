// SPDX-License-Identifier: Apache-2.0
// Pseudo linear multistep sampling (Liu et al. 2022, arXiv:2202.09778), the sampler of Stable Diffusion 1.x and of
// the method's published results. Matches diffusers `PNDMScheduler` (schedulers/scheduling_pndm.py) with
// `skip_prk_steps`: the first step is refined once, so that n steps take n + 1 predictions.

import Tensors

/// PNDM with Adams-Bashforth steps of order 1 to 4.
public struct PNDMSampler: DiffusionSampler {
    public let timesteps: [Int]
    private let config: SamplerConfig
    private let stride: Int
    private var position = 0
    /// The last four predictions at different timesteps, newest last.
    private var history: [Tensor] = []
    private var firstSample: Tensor?

    /// A sampler of `steps` steps, 1 ... trainTimesteps.
    ///
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        guard config.skipPRKSteps else {
            throw .unsupported(option: "skip_prk_steps", value: "false", supported: "true")
        }
        let ascending = try config.ascendingTimesteps(steps)
        // The second timestep is visited twice: by the first step and by its refinement.
        timesteps = (ascending.dropLast() + ascending.dropLast().suffix(1) + ascending.suffix(1)).reversed()
        self.config = config
        stride = config.schedule.trainTimesteps / steps
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor {
        precondition(position < timesteps.count, "PNDM: all \(timesteps.count) steps are taken")
        defer { position += 1 }
        let timestep = timesteps[position]
        if position == 1, let first = history.first, let firstSample {
            // Repeats the first step with the mean of the predictions at its two ends.
            return transfer(
                firstSample, (prediction + first) / 2, from: timestep + stride, to: timestep)
        }
        history = history.suffix(3) + [prediction]
        if position == 0 { firstSample = sample }
        return transfer(sample, combined(), from: timestep, to: timestep - stride)
    }

    /// Adams-Bashforth combination of the history, of the highest order that it allows.
    private func combined() -> Tensor {
        let newest = Array(history.reversed())
        switch newest.count {
        case 1: return newest[0]
        case 2: return (3 * newest[0] - newest[1]) / 2
        case 3: return (23 * newest[0] - 16 * newest[1] + 5 * newest[2]) / 12
        default: return (55 * newest[0] - 59 * newest[1] + 37 * newest[2] - 9 * newest[3]) / 24
        }
    }

    /// Eq. 9: moves `sample` from one noise level to another along the prediction.
    private func transfer(_ sample: Tensor, _ prediction: Tensor, from: Int, to: Int) -> Tensor {
        let now = config.alphaCumprod(from), next = config.alphaCumprod(to)
        var epsilon = prediction
        if config.schedule.predictionType == .vPrediction {
            epsilon = Float(now.squareRoot()) * prediction + Float((1 - now).squareRoot()) * sample
        }
        let denominator =
            now * (1 - next).squareRoot() + (now * (1 - now) * next).squareRoot()
        return Float((next / now).squareRoot()) * sample - Float((next - now) / denominator) * epsilon
    }
}
