// SPDX-License-Identifier: Apache-2.0
// DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2). Matches diffusers
// `DPMSolverMultistepScheduler` (schedulers/scheduling_dpmsolver_multistep.py) with `algorithm_type` dpmsolver++.
// alpha: signal scale, sigma: noise scale, lambda = log(alpha / sigma), h: step in lambda.

import Foundation
import Tensors

/// DPM-Solver++(2M): a multistep solver of order 1 or 2 that predicts the noiseless sample.
public struct DPMSolverMultistepSampler: DiffusionSampler {
    public let steps: Int
    public var position = 0
    private let config: SamplerConfig
    private let schedule: MultistepSchedule
    private var previous: Tensor?

    public var timesteps: [Float] { schedule.timesteps }

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps` - 1.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        guard (1...2).contains(config.solverOrder) else {
            throw .unsupported(option: "solver_order", value: String(config.solverOrder), supported: "1, 2")
        }
        self.steps = steps
        self.config = config
        schedule = try MultistepSchedule(steps: steps, config: config, isUniPC: false)
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let (now, next) = (schedule.levels[position], schedule.levels[position + 1])
        let original = schedule.originalSample(prediction, sample, at: position)
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
        let ratio = (now.lambda - schedule.levels[position - 1].lambda) / h
        let slope = (original - previous) / Float(ratio)
        switch config.solverType {
        case .midpoint: return base + Float(0.5 * next.alpha * gain) * slope
        case .heun: return base + Float(next.alpha * (1 - gain / h)) * slope
        }
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) { schedule.noiseLevel(at: index) }
}
