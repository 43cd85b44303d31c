// SPDX-License-Identifier: Apache-2.0
// Pseudo numerical methods (Liu et al. 2022, arXiv:2202.09778), the sampler of Stable Diffusion 1.x and of the
// method's published results. Matches diffusers `PNDMScheduler` (schedulers/scheduling_pndm.py): linear multistep
// (Adams-Bashforth) steps, begun either by refining the first of them (`skip_prk_steps`, n + 1 predictions for n
// steps) or by three Runge-Kutta steps of four predictions each.

import Tensors

/// PNDM.
public struct PNDMSampler: DiffusionSampler {
    public let timesteps: [Int]
    private let config: SamplerConfig
    /// Training timesteps per step.
    private let stride: Int
    /// Predictions that belong to Runge-Kutta steps: 12 or 0.
    private let rungeKuttaCount: Int
    private var position = 0
    /// The last four predictions at the beginning of a step, newest last.
    private var history: [Tensor] = []
    /// The sample at the beginning of the first multistep step, or of the present Runge-Kutta step.
    private var start: Tensor?
    /// Weighted sum of the present Runge-Kutta step's predictions.
    private var sum: Tensor?

    /// A sampler of `steps` steps, 1 ... trainTimesteps; with Runge-Kutta steps, at least 4.
    ///
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        let ascending = try config.ascendingTimesteps(steps)
        let stride = config.schedule.trainTimesteps / steps
        self.stride = stride
        self.config = config
        if config.skipPRKSteps {
            // The second timestep is visited twice: by the first step and by its refinement.
            timesteps = (ascending.dropLast() + ascending.dropLast().suffix(1) + ascending.suffix(1))
                .reversed()
            rungeKuttaCount = 0
        } else {
            guard steps >= 4 else {
                throw .unsupported(
                    option: "skip_prk_steps", value: "false", supported: "true for fewer than 4 steps")
            }
            // Each step looks at its beginning, twice at its middle, and at its end.
            let ends = (steps - 4..<steps - 1).reversed()
            let rungeKutta = ends.flatMap { index in
                let middle = ascending[index] + stride / 2
                return [ascending[index + 1], middle, middle, ascending[index]]
            }
            timesteps = rungeKutta + ascending.dropLast(3).reversed()
            rungeKuttaCount = rungeKutta.count
            try config.check(timesteps)
        }
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor {
        precondition(position < timesteps.count, "PNDM: all \(timesteps.count) predictions are used")
        defer { position += 1 }
        return position < rungeKuttaCount
            ? rungeKuttaStage(prediction, sample) : multistep(prediction, sample)
    }

    /// One of the four predictions of a Runge-Kutta step; only the last one ends the step.
    private mutating func rungeKuttaStage(_ prediction: Tensor, _ sample: Tensor) -> Tensor {
        let stage = position % 4
        let timestep = timesteps[position], begin = timesteps[position - stage]
        let weighted = prediction * ([1, 2, 2, 1][stage] / 6)
        let total = sum.map { $0 + weighted } ?? weighted
        if stage == 0 {
            history.append(prediction)
            start = sample
        }
        sum = stage == 3 ? nil : total
        // The even stages look half a step further, the odd ones repeat the way to where they stand.
        let end = stage % 2 == 0 ? timestep - stride / 2 : timestep
        return transfer(start ?? sample, stage == 3 ? total : prediction, from: begin, to: end)
    }

    private mutating func multistep(_ prediction: Tensor, _ sample: Tensor) -> Tensor {
        let timestep = timesteps[position]
        if position == 1, let first = history.first, let start {
            // Repeats the first step with the mean of the predictions at its two ends.
            return transfer(start, (prediction + first) / 2, from: timestep + stride, to: timestep)
        }
        history = history.suffix(3) + [prediction]
        if position == 0 { start = sample }
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
        let denominator = now * (1 - next).squareRoot() + (now * (1 - now) * next).squareRoot()
        return Float((next / now).squareRoot()) * sample - Float((next - now) / denominator) * epsilon
    }
}
