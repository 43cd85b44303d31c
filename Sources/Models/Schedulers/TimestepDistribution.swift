// SPDX-License-Identifier: Apache-2.0
// The distribution of training timesteps. BitsFusion draws them from Beta(3, 1), because quantization errors are
// largest at noisy timesteps (arXiv:2406.04333, section 4.2).

import Foundation
import Tensors

/// t = floor(T x) with x ~ Beta(alpha, beta) on [0, 1); Beta(1, 1) is uniform.
public struct TimestepDistribution: Codable, Hashable, Sendable {
    /// > 0.
    public var alpha: Float
    /// > 0.
    public var beta: Float

    public init(alpha: Float, beta: Float) {
        self.alpha = alpha
        self.beta = beta
    }

    /// The distribution of both stages in the paper.
    public static let paper = TimestepDistribution(alpha: 3, beta: 1)

    /// Draws `count` timesteps in `0 ..< trainTimesteps`.
    public func draw(_ count: Int, trainTimesteps: Int, using random: inout Philox) -> [Int] {
        (0..<count).map { _ in
            min(Int(Double(sample(&random)) * Double(trainTimesteps)), trainTimesteps - 1)
        }
    }

    /// `count` timesteps in ascending order, one from the middle of each of `count` strata of equal probability, so
    /// that a mean over them has less variance than one over as many draws. Strata are estimated from draws.
    public func stratified(_ count: Int, trainTimesteps: Int, using random: inout Philox) -> [Int] {
        let draws = draw(count * Self.drawsPerStratum, trainTimesteps: trainTimesteps, using: &random).sorted()
        return (0..<count).map { draws[$0 * Self.drawsPerStratum + Self.drawsPerStratum / 2] }
    }

    private static let drawsPerStratum = 63

    private func sample(_ random: inout Philox) -> Float {
        // With beta = 1, the distribution function is x^alpha; its inverse has a closed form.
        if beta == 1 { return pow(random.nextUniform(), 1 / alpha) }
        // x / (x + y) of two gamma variables. Their logarithms are used, because both underflow for small shapes.
        let logX = logGamma(alpha, &random), logY = logGamma(beta, &random)
        return 1 / (1 + exp(logY - logX))
    }

    /// The logarithm of a Gamma(shape, 1) variable (Marsaglia and Tsang 2000); shapes below 1 use shape + 1.
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
