// SPDX-License-Identifier: Apache-2.0
// Which timesteps training sees. The paper draws them from Beta(3, 1), since quantization hurts noisy steps most
// (BitsFusion, arXiv:2406.04333, section 4.2).

import Foundation
import Tensors

/// t = floor(T · x) with x ~ Beta(alpha, beta) on [0, 1); Beta(1, 1) is uniform.
public struct TimestepDistribution: Codable, Hashable, Sendable {
    public var alpha: Float
    public var beta: Float

    public init(alpha: Float, beta: Float) {
        self.alpha = alpha
        self.beta = beta
    }

    /// The paper's choice for both stages.
    public static let paper = TimestepDistribution(alpha: 3, beta: 1)
    public static let uniform = TimestepDistribution(alpha: 1, beta: 1)

    /// `count` timesteps in `0..<trainTimesteps`.
    public func draw(_ count: Int, trainTimesteps: Int, using random: inout Philox) -> [Int] {
        (0..<count).map { _ in
            min(Int(Double(sample(&random)) * Double(trainTimesteps)), trainTimesteps - 1)
        }
    }

    /// The point below which a share `probability` of the draws lies, in timesteps; exact for beta = 1.
    public func quantile(_ probability: Float, trainTimesteps: Int) -> Int {
        precondition(beta == 1, "quantile: known in closed form for beta = 1, not \(beta)")
        return min(Int(pow(probability, 1 / alpha) * Float(trainTimesteps)), trainTimesteps - 1)
    }

    private func sample(_ random: inout Philox) -> Float {
        // With beta = 1 the distribution function is x^alpha, which inverts.
        if beta == 1 { return pow(random.nextUniform(), 1 / alpha) }
        // x / (x + y) of two gamma variables, by their logarithms: small shapes make both too small for Float32.
        let logX = logGamma(alpha, &random), logY = logGamma(beta, &random)
        return 1 / (1 + exp(logY - logX))
    }

    /// The logarithm of a Gamma(shape, 1) variable by Marsaglia and Tsang (2000); shapes below 1 through shape + 1.
    private func logGamma(_ shape: Float, _ random: inout Philox) -> Float {
        if shape < 1 {
            let boost = log(max(random.nextUniform(), .leastNormalMagnitude)) / shape
            return logGamma(shape + 1, &random) + boost
        }
        let d = shape - 1 / 3
        let c = 1 / (9 * d).squareRoot()
        while true {
            random.skipToBlock()
            let normal = random.nextNormal()
            let root = 1 + c * normal
            guard root > 0 else { continue }
            let v = root * root * root
            random.skipToBlock()
            let u = max(random.nextUniform(), .leastNormalMagnitude)
            if log(u) < 0.5 * normal * normal + d - d * v + d * log(v) { return log(d * v) }
        }
    }
}

extension TimestepDistribution {
    /// The first parameter that is not a positive number; nil for a valid distribution.
    public var invalidParameter: (name: String, value: Float)? {
        [("alpha", alpha), ("beta", beta)].first { !($0.1 > 0) || !$0.1.isFinite }
    }
}
