// SPDX-License-Identifier: Apache-2.0
// The forward process of DDPM (Ho et al. 2020, arXiv:2006.11239): how much noise a sample holds at each timestep.
// Matches the schedules of diffusers' schedulers, whose Float32 rounding of alphasCumprod is kept, because
// 1 - alphasCumprod at small timesteps magnifies it. B batch.

import Foundation
import Tensors

/// What a model is trained to predict.
public enum PredictionType: String, Codable, Sendable, CaseIterable {
    /// The noise.
    case epsilon
    /// The velocity sqrt(ā) noise - sqrt(1 - ā) sample (Salimans and Ho 2022, arXiv:2202.00512).
    case vPrediction = "v_prediction"
}

/// How beta grows with the timestep.
public enum BetaSchedule: String, Codable, Sendable, CaseIterable {
    /// Linearly from start to end.
    case linear
    /// Its square root does: latent diffusion.
    case scaledLinear = "scaled_linear"
}

/// Noise levels by timestep:
///
///     x_t = sqrt(ā_t) x_0 + sqrt(1 - ā_t) noise,     ā_t = Π_{s ≤ t} (1 - beta_s)
public struct NoiseSchedule: Sendable, Equatable {
    public let betaSchedule: BetaSchedule
    /// Beta at timestep 0, in (0, 1).
    public let betaStart: Double
    /// Beta at the last timestep, in (0, 1).
    public let betaEnd: Double
    /// Number of timesteps; they are 0 ..< trainTimesteps.
    public let trainTimesteps: Int
    public let predictionType: PredictionType
    /// ā by timestep, `trainTimesteps` values, falling from about 1 towards 0.
    public let alphasCumprod: [Float]

    /// A schedule; the defaults are Stable Diffusion's.
    ///
    /// - Precondition: `trainTimesteps` > 0 and both betas in (0, 1).
    public init(
        betaSchedule: BetaSchedule = .scaledLinear, betaStart: Double = 0.00085, betaEnd: Double = 0.012,
        trainTimesteps: Int = 1000, predictionType: PredictionType = .epsilon
    ) {
        precondition(trainTimesteps > 0, "noise schedule: \(trainTimesteps) timesteps")
        precondition(
            (0..<1).contains(betaStart) && (0..<1).contains(betaEnd),
            "noise schedule: betas \(betaStart), \(betaEnd) must lie in [0, 1)")
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

    /// The noisy sample at each row's timestep.
    ///
    /// - Parameters:
    ///   - sample: `[B, ...]`, noiseless.
    ///   - noise: the shape of `sample`, standard normal.
    ///   - timesteps: B values in `0 ..< trainTimesteps`.
    /// - Returns: sqrt(ā) sample + sqrt(1 - ā) noise, the shape of `sample`.
    public func addNoise(to sample: Tensor, noise: Tensor, timesteps: [Int]) -> Tensor {
        let (signal, scale) = coefficients(timesteps, of: sample)
        return signal * sample + scale * noise
    }

    /// What the model should predict for `addNoise(to: sample, noise: noise, timesteps:)`: the noise or the velocity.
    public func target(sample: Tensor, noise: Tensor, timesteps: [Int]) -> Tensor {
        switch predictionType {
        case .epsilon:
            return noise
        case .vPrediction:
            let (signal, scale) = coefficients(timesteps, of: sample)
            return signal * noise - scale * sample
        }
    }

    /// The noiseless sample that a prediction implies.
    ///
    /// - Parameters:
    ///   - noisy: `[B, ...]`, the model's input.
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

    /// `count` evenly spaced Float32 values, counted from the nearer end as torch.linspace does.
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

    /// Reads diffusers' scheduler keys, all of them.
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
                    debugDescription: "noise schedule with betas \(start), \(end) and \(steps) timesteps"))
        }
        try self.init(
            betaSchedule: container.decode(BetaSchedule.self, forKey: .betaSchedule), betaStart: start,
            betaEnd: end, trainTimesteps: steps,
            predictionType: container.decode(PredictionType.self, forKey: .predictionType))
    }

    /// Writes diffusers' scheduler keys.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(betaSchedule, forKey: .betaSchedule)
        try container.encode(betaStart, forKey: .betaStart)
        try container.encode(betaEnd, forKey: .betaEnd)
        try container.encode(trainTimesteps, forKey: .trainTimesteps)
        try container.encode(predictionType, forKey: .predictionType)
    }
}
