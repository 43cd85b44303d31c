// SPDX-License-Identifier: Apache-2.0
// DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2). Matches diffusers
// `DPMSolverMultistepScheduler` (schedulers/scheduling_dpmsolver_multistep.py) with `algorithm_type` dpmsolver++.
// alpha: signal scale, sigma: noise scale, lambda = log(alpha / sigma), h: step in lambda.

import Foundation
import Tensors

/// DPM-Solver++(2M): a multistep solver of order 1 or 2 that predicts the noiseless sample.
public struct DPMSolverMultistepSampler: DiffusionSampler {
    public let timesteps: [Int]
    private let config: SamplerConfig
    /// Noise levels at the timesteps, and the one after the last step.
    private let levels: [NoiseLevel]
    private var position = 0
    private var previous: Tensor?

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps` - 1.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        guard (1...2).contains(config.solverOrder) else {
            throw .unsupported(option: "solver_order", value: String(config.solverOrder), supported: "1, 2")
        }
        let count = config.schedule.trainTimesteps
        // With as many steps as timesteps, two timesteps would be equal and h would be 0.
        guard steps >= 1 && steps < count else { throw .steps(requested: steps, maximum: count - 1) }
        switch config.timestepSpacing ?? .linspace {
        case .linspace:
            timesteps = roundedLinspace(to: count - 1, count: steps + 1).dropFirst().reversed()
        case .leading:
            let stride = count / (steps + 1)
            timesteps = (1...steps).reversed().map { $0 * stride + config.stepsOffset }
        case .trailing:
            timesteps = trailingTimesteps(count: count, step: Double(count) / Double(steps)).reversed()
        }
        try config.check(timesteps)
        self.config = config
        let alphas = config.schedule.alphasCumprod
        let last: Float = config.finalSigmas == .zero ? 0 : Self.sigma(alphas[0])
        levels = (timesteps.map { Self.sigma(alphas[$0]) } + [last]).map(NoiseLevel.init)
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor {
        precondition(position < timesteps.count, "DPM-Solver++: step called more than \(timesteps.count) times")
        let now = levels[position], next = levels[position + 1]
        let original = originalSample(prediction, sample, now)
        defer {
            previous = original
            position += 1
        }
        let isLast = position == timesteps.count - 1
        let endsInFirstOrder =
            isLast
            && (config.eulerAtFinal || config.finalSigmas == .zero
                || config.lowerOrderFinal && timesteps.count < 15)
        // 1 - exp(-h). If the next noise level is 0, h is infinite and the step ends at the predicted sample.
        let h = next.lambda - now.lambda
        let gain = -expm1(-h)
        let base = Float(next.sigma / now.sigma) * sample + Float(next.alpha * gain) * original
        guard config.solverOrder == 2, !endsInFirstOrder, let previous else { return base }
        let ratio = (now.lambda - levels[position - 1].lambda) / h
        let slope = (original - previous) / Float(ratio)
        switch config.solverType {
        case .midpoint: return base + Float(0.5 * next.alpha * gain) * slope
        case .heun: return base + Float(next.alpha * (1 - gain / h)) * slope
        }
    }

    private func originalSample(_ prediction: Tensor, _ sample: Tensor, _ level: NoiseLevel) -> Tensor {
        let alpha = Float(level.alpha), sigma = Float(level.sigma)
        switch config.schedule.predictionType {
        case .epsilon: return (sample - sigma * prediction) / alpha
        case .vPrediction: return alpha * sample - sigma * prediction
        }
    }

    /// The noise-to-signal ratio at ā.
    private static func sigma(_ alphaCumprod: Float) -> Float {
        ((1 - alphaCumprod) / alphaCumprod).squareRoot()
    }
}

/// Signal and noise scale of one noise-to-signal ratio, with alpha² + sigma² = 1.
private struct NoiseLevel {
    let alpha: Double
    let sigma: Double
    /// log(alpha / sigma), infinite without noise.
    let lambda: Double

    init(_ ratio: Float) {
        let ratio = Double(ratio)
        alpha = 1 / (ratio * ratio + 1).squareRoot()
        sigma = ratio * alpha
        lambda = -log(ratio)
    }
}
