// SPDX-License-Identifier: Apache-2.0
// Pseudo numerical methods (Liu et al. 2022, arXiv:2202.09778), the sampler of Stable Diffusion 1 and of the results
// in the BitsFusion paper. Matches diffusers `PNDMScheduler` (schedulers/scheduling_pndm.py).

import Tensors

/// PNDM: linear multistep (Adams-Bashforth) steps of order 4.
///
/// The first steps have no history. With `skip_prk_steps`, the first step is repeated with a better prediction, and the
/// order increases from 1 to 4: n + 1 predictions for n steps. Without it, the sampler begins with three Runge-Kutta
/// steps of four predictions each.
public struct PNDMSampler: DiffusionSampler {
    public let steps: Int
    public let timesteps: [Float]
    public var position = 0
    private let config: SamplerConfig
    private let trainingTimesteps: [Int]
    /// The number of training timesteps per step.
    private let stride: Int
    /// The number of predictions in Runge-Kutta steps: 12 or 0.
    private let rungeKuttaCount: Int
    /// The number of predictions made. In a run that does not start at the first timestep, diffusers counts the
    /// repeated step and the Runge-Kutta steps from its start, not from the first timestep.
    private var calls = 0
    /// The predictions at the start of the last four steps, newest last.
    private var history: [Tensor] = []
    /// The sample at the start of the first multistep step, or of the current Runge-Kutta step.
    private var start: Tensor?
    /// The weighted sum of the predictions of the current Runge-Kutta step.
    private var sum: Tensor?

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`; at least 4 with Runge-Kutta steps.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        try config.checkNoSamplePrediction()
        let ascending = try config.ascendingTimesteps(steps)
        let stride = config.schedule.trainTimesteps / steps
        self.stride = stride
        self.steps = steps
        self.config = config
        if config.skipPRKSteps {
            // The second timestep occurs twice: the first step is repeated.
            trainingTimesteps = (ascending.dropLast() + ascending.dropLast().suffix(1) + ascending.suffix(1))
                .reversed()
            rungeKuttaCount = 0
        } else {
            guard steps >= 4 else {
                throw .unsupported(
                    option: "skip_prk_steps", value: "false", supported: "true for fewer than 4 steps")
            }
            // Each step predicts at its start, twice at its middle, and at its end.
            let ends = (steps - 4..<steps - 1).reversed()
            let rungeKutta = ends.flatMap { index in
                let middle = ascending[index] + stride / 2
                return [ascending[index + 1], middle, middle, ascending[index]]
            }
            trainingTimesteps = rungeKutta + ascending.dropLast(3).reversed()
            rungeKuttaCount = rungeKutta.count
            try config.check(trainingTimesteps)
        }
        try config.checkSignal(trainingTimesteps, for: .pndm)
        timesteps = trainingTimesteps.map { Float($0) }
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        defer {
            position += 1
            calls += 1
        }
        return calls < rungeKuttaCount
            ? rungeKuttaStage(prediction, sample) : multistep(prediction, sample)
    }

    /// Uses one of the four predictions of a Runge-Kutta step. The fourth one completes the step.
    private mutating func rungeKuttaStage(_ prediction: Tensor, _ sample: Tensor) -> Tensor {
        let stage = calls % 4
        let timestep = trainingTimesteps[position], begin = trainingTimesteps[calls - stage]
        let weighted = prediction * ([1, 2, 2, 1][stage] / 6)
        let total = sum.map { $0 + weighted } ?? weighted
        if stage == 0 {
            history.append(prediction)
            start = sample
        }
        sum = stage == 3 ? nil : total
        // Each stage moves the sample at the start: stages 0 and 1 to the middle of the step, 2 and 3 to its end.
        let end = stage % 2 == 0 ? timestep - stride / 2 : timestep
        return transfer(start ?? sample, stage == 3 ? total : prediction, from: begin, to: end)
    }

    private mutating func multistep(_ prediction: Tensor, _ sample: Tensor) -> Tensor {
        let timestep = trainingTimesteps[position]
        if calls == 1, let first = history.first, let start {
            // Repeats the first step with the mean of the predictions at its start and end.
            return transfer(start, (prediction + first) / 2, from: timestep + stride, to: timestep)
        }
        history = history.suffix(3) + [prediction]
        if calls == 0 { start = sample }
        return transfer(sample, combined(), from: timestep, to: timestep - stride)
    }

    /// The Adams-Bashforth combination of the history; its order is the number of predictions.
    private func combined() -> Tensor {
        let newest = Array(history.reversed())
        switch newest.count {
        case 1: return newest[0]
        case 2: return (3 * newest[0] - newest[1]) / 2
        case 3: return (23 * newest[0] - 16 * newest[1] + 5 * newest[2]) / 12
        default: return (55 * newest[0] - 59 * newest[1] + 37 * newest[2] - 9 * newest[3]) / 24
        }
    }

    /// Eq. 9: the transfer of `sample` from one noise level to another with the predicted noise.
    private func transfer(_ sample: Tensor, _ prediction: Tensor, from: Int, to: Int) -> Tensor {
        let now = config.alphaCumprod(from), next = config.alphaCumprod(to)
        let epsilon = config.schedule.predictionType.noise(
            prediction, sample, signal: Float(now.squareRoot()), noise: Float((1 - now).squareRoot()))
        let denominator = now * (1 - next).squareRoot() + (now * (1 - now) * next).squareRoot()
        return Float((next / now).squareRoot()) * sample - Float((next - now) / denominator) * epsilon
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) {
        config.noiseLevel(trainingTimesteps[index])
    }
}
