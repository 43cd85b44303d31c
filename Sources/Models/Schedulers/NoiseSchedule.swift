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
}

/// How beta depends on the timestep (`beta_schedule`).
public enum BetaSchedule: String, Codable, Sendable, CaseIterable {
    /// Beta is linear in the timestep.
    case linear
    /// The square root of beta is linear in the timestep, as in latent diffusion.
    case scaledLinear = "scaled_linear"
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
    /// ā of each timestep, `trainTimesteps` values that decrease from about 1 towards 0.
    public let alphasCumprod: [Float]

    /// Creates a schedule. The defaults are Stable Diffusion's.
    ///
    /// - Precondition: `trainTimesteps` > 0 and both betas in [0, 1).
    public init(
        betaSchedule: BetaSchedule = .scaledLinear, betaStart: Double = 0.00085, betaEnd: Double = 0.012,
        trainTimesteps: Int = 1000, predictionType: PredictionType = .epsilon
    ) {
        precondition(trainTimesteps > 0, "noise schedule: \(trainTimesteps) timesteps")
        precondition(
            (0..<1).contains(betaStart) && (0..<1).contains(betaEnd),
            "noise schedule: betas \(betaStart), \(betaEnd) are not in [0, 1)")
        self.betaSchedule = betaSchedule
        self.betaStart = betaStart
        self.betaEnd = betaEnd
        self.trainTimesteps = trainTimesteps
        self.predictionType = predictionType
        let betas: [Float]
        switch betaSchedule {
        case .linear:
            betas = Self.linspace(Float(betaStart), Float(betaEnd), trainTimesteps)
        case .scaledLinear:
            betas = Self.linspace(Float(betaStart.squareRoot()), Float(betaEnd.squareRoot()), trainTimesteps)
                .map { $0 * $0 }
        }
        var product = 1.0
        alphasCumprod = betas.map { beta in
            product *= Double(1 - beta)
            return Float(product)
        }
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
    /// - Returns: the noise or the velocity, the shape of `sample`.
    public func target(sample: Tensor, noise: Tensor, timesteps: [Int]) -> Tensor {
        switch predictionType {
        case .epsilon:
            return noise
        case .vPrediction:
            let (signal, scale) = coefficients(timesteps, of: sample)
            return signal * noise - scale * sample
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

extension NoiseSchedule: Codable {
    private enum CodingKeys: String, CodingKey {
        case betaSchedule = "beta_schedule"
        case betaStart = "beta_start"
        case betaEnd = "beta_end"
        case trainTimesteps = "num_train_timesteps"
        case predictionType = "prediction_type"
    }

    /// Reads the keys of diffusers' `scheduler_config.json`; all five are required.
    ///
    /// - Throws: `DecodingError` for missing keys and values out of range.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let start = try container.decode(Double.self, forKey: .betaStart)
        let end = try container.decode(Double.self, forKey: .betaEnd)
        let steps = try container.decode(Int.self, forKey: .trainTimesteps)
        guard (0..<1).contains(start), (0..<1).contains(end), steps > 0 else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription:
                        "beta_start \(start), beta_end \(end), num_train_timesteps \(steps): expected betas "
                        + "in [0, 1) and at least 1 timestep"))
        }
        try self.init(
            betaSchedule: container.decode(BetaSchedule.self, forKey: .betaSchedule), betaStart: start,
            betaEnd: end, trainTimesteps: steps,
            predictionType: container.decode(PredictionType.self, forKey: .predictionType))
    }

    /// Writes the keys of diffusers' `scheduler_config.json`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(betaSchedule, forKey: .betaSchedule)
        try container.encode(betaStart, forKey: .betaStart)
        try container.encode(betaEnd, forKey: .betaEnd)
        try container.encode(trainTimesteps, forKey: .trainTimesteps)
        try container.encode(predictionType, forKey: .predictionType)
    }
}
