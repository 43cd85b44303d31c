// SPDX-License-Identifier: Apache-2.0
// UniPC (Zhao et al. 2023, arXiv:2302.04867, algorithms 5 and 6): a multistep predictor of the noiseless sample, and a
// corrector that uses the prediction at the end of each step again. Matches diffusers `UniPCMultistepScheduler`
// (schedulers/scheduling_unipc_multistep.py) with `predict_x0`.
// lambda = log(alpha / sigma), h: step in lambda, x_0: noiseless sample.

import Foundation
import Tensors

/// UniPC of order 1 to 3. Makes one prediction per step.
public struct UniPCSampler: DiffusionSampler {
    public let steps: Int
    public var position = 0
    private let config: SamplerConfig
    private let schedule: MultistepSchedule
    /// The noiseless samples predicted at the start of the last steps, newest last.
    private var history: [Tensor] = []
    /// The sample at the start of the last step, and the order of that step.
    private var last: (sample: Tensor, order: Int)?

    public var timesteps: [Float] { schedule.timesteps }

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps` - 1.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        guard (1...3).contains(config.solverOrder) else {
            throw .unsupported(option: "solver_order", value: String(config.solverOrder), supported: "1, 2, 3")
        }
        // h is infinite in a last step to noise level 0, which only order 1 can do.
        guard config.lowerOrderFinal || config.finalSigmas != .zero || config.solverOrder == 1 else {
            throw .unsupported(
                option: "lower_order_final", value: "false", supported: "true with final_sigmas_type \"zero\"")
        }
        self.steps = steps
        self.config = config
        schedule = try MultistepSchedule(steps: steps, config: config, isUniPC: true)
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        var sample = sample
        let original = schedule.originalSample(prediction, sample, at: position)
        if let last, !config.disableCorrector.contains(position - 1) {
            sample = moved(last.sample, from: position - 1, order: last.order, correction: original)
        }
        history = history.suffix(config.solverOrder - 1) + [original]
        let remaining = config.lowerOrderFinal ? schedule.timesteps.count - position : config.solverOrder
        let order = min(config.solverOrder, remaining, history.count)
        last = (sample, order)
        defer { position += 1 }
        return moved(sample, from: position, order: order, correction: nil)
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) { schedule.noiseLevel(at: index) }

    /// One step from the noise level of `timesteps[index]` to the next one.
    ///
    /// - Parameters:
    ///   - sample: at the start.
    ///   - index: of the start. The newest element of `history` was predicted there.
    ///   - order: the number of predictions used, at most `history.count`.
    ///   - correction: x_0 predicted at the end of the step, for the corrector; nil for the predictor.
    /// - Returns: the sample at the end.
    private func moved(_ sample: Tensor, from index: Int, order: Int, correction: Tensor?) -> Tensor {
        let (now, next) = (schedule.levels[index], schedule.levels[index + 1])
        let h = next.lambda - now.lambda
        let newest = history[history.count - 1]
        let gain = expm1(-h)
        let base = Float(next.sigma / now.sigma) * sample - Float(next.alpha * gain) * newest
        // Differences of x_0 to earlier timesteps, in units of h.
        let ratios = (1..<order).map { (schedule.levels[index - $0].lambda - now.lambda) / h }
        var terms = ratios.enumerated().map { (history[history.count - 2 - $0] - newest) / Float($1) }
        let weights: [Double]
        if let correction {
            weights = order == 1 ? [0.5] : Self.weights(ratios + [1], h: h, config.unipcSolverType)
            terms.append(correction - newest)
        } else {
            weights = order == 2 ? [0.5] : Self.weights(ratios, h: h, config.unipcSolverType)
        }
        let scale = next.alpha * (config.unipcSolverType == .bh1 ? -h : gain)
        return zip(weights, terms).reduce(base) { $0 - Float(scale * $1.0) * $1.1 }
    }

    /// The weights of differences at `ratios`: the solution w of Σ_j w_j r_j^i = b_i, i = 0 ..< `ratios.count`.
    private static func weights(_ ratios: [Double], h: Double, _ type: UniPCSolverType) -> [Double] {
        let scale = type == .bh1 ? -h : expm1(-h)
        var function = expm1(-h) / -h - 1
        var factorial = 1.0
        var rows: [[Double]] = []
        for power in ratios.indices {
            // The last column is the right side.
            rows.append(ratios.map { pow($0, Double(power)) } + [function * factorial / scale])
            factorial *= Double(power + 2)
            function = function / -h - 1 / factorial
        }
        return solution(of: rows)
    }

    /// Gaussian elimination with pivoting; each row holds the coefficients and the right side.
    private static func solution(of equations: [[Double]]) -> [Double] {
        var rows = equations
        for column in rows.indices {
            let pivot = (column..<rows.count).max { abs(rows[$0][column]) < abs(rows[$1][column]) } ?? column
            rows.swapAt(column, pivot)
            for row in rows.indices where row != column {
                let factor = rows[row][column] / rows[column][column]
                for index in column...rows.count { rows[row][index] -= factor * rows[column][index] }
            }
        }
        return rows.indices.map { rows[$0][rows.count] / rows[$0][$0] }
    }
}
