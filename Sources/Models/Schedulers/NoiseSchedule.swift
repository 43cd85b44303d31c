// SPDX-License-Identifier: Apache-2.0
// The noise schedule of DDPM (Ho et al. 2020, arXiv:2006.11239). Matches `betas`, `alphas_cumprod`, `add_noise` and
// `get_velocity` of diffusers' schedulers (schedulers/scheduling_ddpm.py), including the Float32 rounding of
// `alphas_cumprod`: 1 - ā amplifies it at small timesteps. B batch.

import Foundation
import Tensors

/// The quantity that a model predicts (`prediction_type`).
public enum PredictionType: String, Codable, Sendable, CaseIterable {
    /// The noise.
    case epsilon
    /// The velocity v = sqrt(ā) noise - sqrt(1 - ā) x_0 (Salimans and Ho 2022, arXiv:2202.00512).
    case vPrediction = "v_prediction"
    /// The noiseless sample x_0.
    case sample
}

/// How beta depends on the timestep (`beta_schedule`).
public enum BetaSchedule: String, Codable, Sendable, CaseIterable {
    /// Beta is linear in the timestep.
    case linear
    /// The square root of beta is linear in the timestep, as in latent diffusion.
    case scaledLinear = "scaled_linear"
    /// The cosine schedule of Nichol and Dhariwal 2021 (arXiv:2102.09672), beta capped at 0.999; `betaStart` and
    /// `betaEnd` have no effect.
    case squaredcosCapV2 = "squaredcos_cap_v2"
}

/// The noise level of each timestep t in `0 ..< trainTimesteps`:
///
///     x_t = sqrt(ā_t) x_0 + sqrt(1 - ā_t) noise,     ā_t = Π_{s ≤ t} (1 - beta_s)
public struct NoiseSchedule: Sendable, Equatable {
    public let betaSchedule: BetaSchedule
    /// Beta at timestep 0, in [0, 1).
    public let betaStart: Double
    /// Beta at the last timestep, in [0, 1).
    public let betaEnd: Double
    /// The number of training timesteps (`num_train_timesteps`).
    public let trainTimesteps: Int
    public let predictionType: PredictionType
    /// Beta of each timestep in place of `betaSchedule` (`trained_betas`); nil for none.
    public let trainedBetas: [Double]?
    /// Whether ā is rescaled to 0 at the last timestep (`rescale_betas_zero_snr`; Lin et al. 2023, arXiv:2305.08891,
    /// algorithm 1).
    public let rescalesBetasZeroSNR: Bool
    /// ā of each timestep, `trainTimesteps` values that decrease from about 1 towards 0.
    public let alphasCumprod: [Float]

    /// Creates a schedule. The defaults are Stable Diffusion's.
    ///
    /// - Precondition: `trainTimesteps` > 0, all betas in [0, 1), and one trained beta per timestep.
    public init(
        betaSchedule: BetaSchedule = .scaledLinear, betaStart: Double = 0.00085, betaEnd: Double = 0.012,
        trainTimesteps: Int = 1000, predictionType: PredictionType = .epsilon, trainedBetas: [Double]? = nil,
        rescalesBetasZeroSNR: Bool = false
    ) {
        precondition(trainTimesteps > 0, "noise schedule: \(trainTimesteps) timesteps")
        precondition(
            (0..<1).contains(betaStart) && (0..<1).contains(betaEnd),
            "noise schedule: betas \(betaStart), \(betaEnd) are not in [0, 1)")
        precondition(
            trainedBetas.map { $0.count == trainTimesteps && $0.allSatisfy((0..<1).contains) } ?? true,
            "noise schedule: trained betas are not \(trainTimesteps) values in [0, 1)")
        self.betaSchedule = betaSchedule
        self.betaStart = betaStart
        self.betaEnd = betaEnd
        self.trainTimesteps = trainTimesteps
        self.predictionType = predictionType
        self.trainedBetas = trainedBetas
        self.rescalesBetasZeroSNR = rescalesBetasZeroSNR
        let betas: [Float]
        switch (trainedBetas, betaSchedule) {
        case (let trainedBetas?, _):
            betas = trainedBetas.map { Float($0) }
        case (nil, .linear):
            betas = Self.linspace(Float(betaStart), Float(betaEnd), trainTimesteps)
        case (nil, .scaledLinear):
            betas = Self.linspace(Float(betaStart.squareRoot()), Float(betaEnd.squareRoot()), trainTimesteps)
                .map { $0 * $0 }
        case (nil, .squaredcosCapV2):
            betas = Self.squaredCosine(trainTimesteps)
        }
        alphasCumprod = Self.products(of: rescalesBetasZeroSNR ? Self.rescaled(betas) : betas)
    }

    /// ā for each timestep.
    private static func products(of betas: [Float]) -> [Float] {
        var product = 1.0
        return betas.map { beta in
            product *= Double(1 - beta)
            return Float(product)
        }
    }

    /// Betas for which sqrt(ā) is shifted and scaled: 0 at the last timestep, unchanged at the first one.
    private static func rescaled(_ betas: [Float]) -> [Float] {
        let roots = products(of: betas).map { $0.squareRoot() }
        guard let first = roots.first, let last = roots.last, first > last else { return betas }
        let products = roots.map { root -> Float in
            let scaled = (root - last) * (first / (first - last))
            return scaled * scaled
        }
        return products.indices.map { 1 - (($0 == 0) ? products[0] : products[$0] / products[$0 - 1]) }
    }

    /// 1 - f(t + 1) / f(t) with f(t) = cos²((t / T + 0.008) / 1.008 · π / 2), at most 0.999.
    private static func squaredCosine(_ count: Int) -> [Float] {
        func level(_ timestep: Int) -> Double {
            let cosine = cos((Double(timestep) / Double(count) + 0.008) / 1.008 * .pi / 2)
            return cosine * cosine
        }
        return (0..<count).map { Float(min(1 - level($0 + 1) / level($0), 0.999)) }
    }

    /// Adds noise to a sample, as diffusers' `add_noise`.
    ///
    /// - Parameters:
    ///   - sample: `[B, ...]`, x_0.
    ///   - noise: the shape of `sample`, standard normal.
    ///   - timesteps: B values in `0 ..< trainTimesteps`.
    /// - Returns: x_t, the shape of `sample`.
    public func addNoise(to sample: Tensor, noise: Tensor, timesteps: [Int]) -> Tensor {
        let (signal, scale) = coefficients(timesteps, of: sample)
        return signal * sample + scale * noise
    }

    /// The training target of the prediction for `addNoise(to: sample, noise: noise, timesteps:)`.
    ///
    /// - Returns: the noise, the velocity or the sample, the shape of `sample`.
    public func target(sample: Tensor, noise: Tensor, timesteps: [Int]) -> Tensor {
        switch predictionType {
        case .epsilon:
            return noise
        case .vPrediction:
            let (signal, scale) = coefficients(timesteps, of: sample)
            return signal * noise - scale * sample
        case .sample:
            return sample
        }
    }

    /// The noiseless sample x_0 that corresponds to a prediction.
    ///
    /// - Parameters:
    ///   - noisy: `[B, ...]`, x_t, the model's input.
    ///   - prediction: the model's output, the shape of `noisy`.
    ///   - timesteps: B values in `0 ..< trainTimesteps`.
    /// - Returns: the shape of `noisy`.
    public func originalSample(noisy: Tensor, prediction: Tensor, timesteps: [Int]) -> Tensor {
        let (signal, scale) = coefficients(timesteps, of: noisy)
        switch predictionType {
        case .epsilon: return (noisy - scale * prediction) / signal
        case .vPrediction: return signal * noisy - scale * prediction
        case .sample: return prediction
        }
    }

    /// sqrt(ā) and sqrt(1 - ā) per row, each `[B, 1, ...]` of the rank of `sample`.
    private func coefficients(_ timesteps: [Int], of sample: Tensor) -> (signal: Tensor, noise: Tensor) {
        precondition(
            sample.shape.first == timesteps.count,
            "noise schedule: \(timesteps.count) timesteps for a sample of shape \(sample.shape)")
        let levels = timesteps.map { timestep -> Float in
            precondition(
                alphasCumprod.indices.contains(timestep),
                "noise schedule: timestep \(timestep) is not in 0 ..< \(trainTimesteps)")
            return alphasCumprod[timestep]
        }
        let shape = [timesteps.count] + [Int](repeating: 1, count: sample.rank - 1)
        return (
            Tensor(levels.map { $0.squareRoot() }, shape: shape),
            Tensor(levels.map { (1 - $0).squareRoot() }, shape: shape)
        )
    }

    /// `torch.linspace` in Float32, which counts each half of the values from its own end.
    private static func linspace(_ start: Float, _ end: Float, _ count: Int) -> [Float] {
        guard count > 1 else { return [start] }
        let step = (end - start) / Float(count - 1)
        return (0..<count).map { index in
            index < count / 2 ? start + step * Float(index) : end - step * Float(count - 1 - index)
        }
    }
}

extension PredictionType {
    /// The noiseless sample in `sample` = signal · x_0 + noise · ε, with signal² + noise² = 1.
    ///
    /// - Parameters:
    ///   - prediction: the model's output for `sample`, its shape.
    ///   - sample: the model's input before scaling.
    ///   - signal: > 0 for `epsilon`.
    ///   - noise: the standard deviation of the noise.
    /// - Returns: x_0, the shape of `sample`.
    func originalSample(_ prediction: Tensor, _ sample: Tensor, signal: Float, noise: Float) -> Tensor {
        switch self {
        case .epsilon: (sample - noise * prediction) / signal
        case .vPrediction: signal * sample - noise * prediction
        case .sample: prediction
        }
    }

    /// The noise ε in `sample`; parameters as for `originalSample`, with `noise` > 0 for predictions of the sample.
    func noise(_ prediction: Tensor, _ sample: Tensor, signal: Float, noise: Float) -> Tensor {
        switch self {
        case .epsilon: prediction
        case .vPrediction: signal * prediction + noise * sample
        case .sample: (sample - signal * prediction) / noise
        }
    }
}

extension NoiseSchedule: Codable {
    private enum CodingKeys: String, CodingKey {
        case betaSchedule = "beta_schedule"
        case betaStart = "beta_start"
        case betaEnd = "beta_end"
        case trainTimesteps = "num_train_timesteps"
        case predictionType = "prediction_type"
        case trainedBetas = "trained_betas"
        case rescalesBetasZeroSNR = "rescale_betas_zero_snr"
    }

    /// Reads the keys of diffusers' `scheduler_config.json`; all but `trained_betas` and `rescale_betas_zero_snr` are
    /// required.
    ///
    /// - Throws: `DecodingError` for missing keys and values out of range.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let start = try container.decode(Double.self, forKey: .betaStart)
        let end = try container.decode(Double.self, forKey: .betaEnd)
        let steps = try container.decode(Int.self, forKey: .trainTimesteps)
        let trained = try container.decodeIfPresent([Double].self, forKey: .trainedBetas)
        let isTrainedValid = trained.map { $0.count == steps && $0.allSatisfy((0..<1).contains) } ?? true
        guard (0..<1).contains(start), (0..<1).contains(end), steps > 0, isTrainedValid else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription:
                        "beta_start \(start), beta_end \(end), num_train_timesteps \(steps), "
                        + "\(trained?.count ?? 0) trained_betas: expected betas in [0, 1), at least 1 timestep, and "
                        + "no or one trained beta per timestep"))
        }
        try self.init(
            betaSchedule: container.decode(BetaSchedule.self, forKey: .betaSchedule), betaStart: start,
            betaEnd: end, trainTimesteps: steps,
            predictionType: container.decode(PredictionType.self, forKey: .predictionType), trainedBetas: trained,
            rescalesBetasZeroSNR: container.decodeIfPresent(Bool.self, forKey: .rescalesBetasZeroSNR) ?? false)
    }

    /// Writes the keys of diffusers' `scheduler_config.json`; the optional ones where they have an effect.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(betaSchedule, forKey: .betaSchedule)
        try container.encode(betaStart, forKey: .betaStart)
        try container.encode(betaEnd, forKey: .betaEnd)
        try container.encode(trainTimesteps, forKey: .trainTimesteps)
        try container.encode(predictionType, forKey: .predictionType)
        try container.encodeIfPresent(trainedBetas, forKey: .trainedBetas)
        if rescalesBetasZeroSNR { try container.encode(true, forKey: .rescalesBetasZeroSNR) }
    }
}
