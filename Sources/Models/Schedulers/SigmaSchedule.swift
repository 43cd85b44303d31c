// SPDX-License-Identifier: Apache-2.0
// Noise-to-signal ratios sigma = sqrt((1 - ā) / ā) of the samplers that are written in them, and Karras sigmas
// (Karras et al. 2022, arXiv:2206.00364, eq. 5). Matches `set_timesteps` of diffusers' Euler, Heun, UniPC and
// DPM-Solver schedulers, including their Float32 rounding.

import Foundation
import Tensors

/// Sigma of each training timestep, ascending.
struct SigmaTable {
    let sigmas: [Float]
    private let logarithms: [Float]

    init(_ schedule: NoiseSchedule) {
        var alphas = schedule.alphasCumprod
        // diffusers keeps the sigma of a terminal signal-to-noise ratio of 0 finite.
        if schedule.rescalesBetasZeroSNR { alphas[alphas.count - 1] = 0x1p-24 }
        sigmas = alphas.map { ((1 - $0) / $0).squareRoot() }
        logarithms = sigmas.map { Float(log(Double($0))) }
    }

    /// Sigma at a timestep, interpolated linearly between whole ones (`numpy.interp`).
    func sigma(at timestep: Float) -> Double {
        let position = Double(timestep)
        let low = min(max(Int(position), 0), sigmas.count - 1), high = min(low + 1, sigmas.count - 1)
        let start = Double(sigmas[low])
        return (Double(sigmas[high]) - start) * (position - Double(low)) + start
    }

    /// The timestep of a sigma, interpolated linearly in its logarithm (`_sigma_to_t`).
    func timestep(of sigma: Double) -> Double {
        let wanted = log(max(sigma, 1e-10))
        let found = logarithms.lastIndex { Double($0) <= wanted } ?? 0
        let low = max(min(found, logarithms.count - 2), 0), high = min(low + 1, logarithms.count - 1)
        guard low < high else { return 0 }
        let weight = (Double(logarithms[low]) - wanted) / Double(logarithms[low] - logarithms[high])
        let share = min(max(weight, 0), 1)
        return (1 - share) * Double(low) + share * Double(high)
    }
}

extension SamplerConfig {
    /// `count` sigmas from `largest` to `smallest`, evenly spaced after taking the 7th root (`_convert_to_karras`).
    /// `sigmaMax` and `sigmaMin` replace the ends.
    func karrasSigmas(from largest: Double, to smallest: Double, count: Int) -> [Double] {
        let rho = 7.0
        let start = pow(sigmaMax ?? largest, 1 / rho), end = pow(sigmaMin ?? smallest, 1 / rho)
        let ramp = linspace(to: 1, count: count)
        return ramp.map { pow(start + $0 * (end - start), rho) }
    }
}

/// The noise levels of one run of Euler, Euler ancestral or Heun, whose samples are x_0 + sigma · noise.
struct SigmaSchedule {
    /// Descending.
    let timesteps: [Float]
    /// Sigma at each timestep, and the one after the last step.
    let sigmas: [Float]
    let initNoiseSigma: Float
    private let predictionType: PredictionType

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps`.
    ///   - config: noise schedule and options.
    ///   - usesKarras: whether the scheduler has `use_karras_sigmas`.
    ///   - finalSigmas: the sigma after the last step.
    /// - Throws: `SamplerError`.
    init(
        steps: Int, config: SamplerConfig, usesKarras: Bool = true, finalSigmas: FinalSigmas = .zero
    ) throws(SamplerError) {
        let table = SigmaTable(config.schedule)
        var timesteps = try config.fractionalTimesteps(steps)
        var sigmas = timesteps.map { table.sigma(at: $0) }
        if usesKarras && config.useKarrasSigmas {
            sigmas = config.karrasSigmas(from: sigmas[0], to: sigmas[sigmas.count - 1], count: steps)
            timesteps = sigmas.map { Float(table.timestep(of: $0)) }
        }
        self.timesteps = timesteps
        self.sigmas = sigmas.map { Float($0) } + [finalSigmas == .zero ? 0 : table.sigmas[0]]
        let largest = self.sigmas.max() ?? 0
        initNoiseSigma =
            (config.timestepSpacing ?? .linspace) == .leading
            ? (largest * largest + 1).squareRoot() : largest
        predictionType = config.schedule.predictionType
    }

    /// `sample` / sqrt(sigma² + 1), of unit variance.
    func scaled(_ sample: Tensor, sigma: Float) -> Tensor { sample / (sigma * sigma + 1).squareRoot() }

    /// The noiseless sample.
    ///
    /// - Parameters:
    ///   - prediction: the model's output for the scaled sample.
    ///   - sample: before scaling; the same shape.
    ///   - sigma: of `sample`.
    /// - Returns: the shape of `sample`.
    func originalSample(_ prediction: Tensor, _ sample: Tensor, sigma: Float) -> Tensor {
        let variance = sigma * sigma + 1
        switch predictionType {
        case .epsilon: return sample - sigma * prediction
        case .vPrediction: return (-sigma / variance.squareRoot()) * prediction + sample / variance
        case .sample: return prediction
        }
    }
}

/// Signal and noise scale of one noise-to-signal ratio, with alpha² + sigma² = 1.
struct NoiseLevel {
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

/// The noise levels of one run of DPM-Solver++ or UniPC, whose samples are alpha · x_0 + sigma · noise.
struct MultistepSchedule {
    /// Descending, whole numbers.
    let timesteps: [Float]
    /// The noise level at each timestep, and the one after the last step.
    let levels: [NoiseLevel]
    private let predictionType: PredictionType

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `trainTimesteps` - 1.
    ///   - config: noise schedule and options.
    ///   - isUniPC: UniPC's variants of Karras sigmas, which differ in the rounding of timesteps and the last sigma.
    /// - Throws: `SamplerError`.
    init(steps: Int, config: SamplerConfig, isUniPC: Bool) throws(SamplerError) {
        let table = SigmaTable(config.schedule)
        // The timesteps of a signal-to-noise ratio below `lambda_min_clipped` are not used.
        let limit = isUniPC ? nil : config.lambdaMinClipped
        let end = limit.map { limit in table.sigmas.filter { -log(Double($0)) >= limit }.count } ?? table.sigmas.count
        let spaced = try config.multistepTimesteps(steps, end: end)
        var last = table.sigmas[0]
        let sigmas: [Float]
        if config.useKarrasSigmas {
            let ends = (Double(table.sigmas[table.sigmas.count - 1]), Double(table.sigmas[0]))
            let karras = config.karrasSigmas(from: ends.0, to: ends.1, count: steps)
            let truncates = !isUniPC && config.schedule.betaSchedule == .squaredcosCapV2
            timesteps = karras.map {
                Float(table.timestep(of: $0).rounded(truncates ? .towardZero : .toNearestOrEven))
            }
            sigmas = karras.map { Float($0) }
            if isUniPC { last = sigmas[steps - 1] }
        } else {
            timesteps = spaced.map { Float($0) }
            sigmas = spaced.map { table.sigmas[$0] }
        }
        levels = (sigmas + [config.finalSigmas == .zero ? 0 : last]).map(NoiseLevel.init)
        predictionType = config.schedule.predictionType
    }

    /// The noiseless sample that a prediction at `timesteps[index]` corresponds to.
    func originalSample(_ prediction: Tensor, _ sample: Tensor, at index: Int) -> Tensor {
        let level = levels[index]
        return predictionType.originalSample(
            prediction, sample, signal: Float(level.alpha), noise: Float(level.sigma))
    }

    /// The factors of sample and noise at `timesteps[index]`.
    func noiseLevel(at index: Int) -> (signal: Float, noise: Float) {
        (Float(levels[index].alpha), Float(levels[index].sigma))
    }
}
