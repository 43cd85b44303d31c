// SPDX-License-Identifier: Apache-2.0
// The Gaussian that a cloud of features is summarised by. N features of width D.

import Tensors

/// Mean and covariance of a sample of features.
public struct GaussianFit: Hashable, Sendable {
    /// D, the width of a feature.
    public let width: Int
    /// μ, `[D]`.
    public let mean: [Double]
    /// Σ = 1/(N - 1) Σ_n (x_n - μ)(x_n - μ)ᵀ, `[D, D]`, symmetric.
    public let covariance: [Double]
    /// N, the size of the sample.
    public let count: Int

    /// The fit of a sample. With N <= D the covariance is singular, and distances between fits are dominated by chance.
    ///
    /// - Parameter features: `[N, D]`, N >= 2; values that are not finite make the fit not finite.
    /// - Complexity: O(N D²).
    public init(_ features: Tensor) {
        precondition(
            features.rank == 2 && features.shape[0] >= 2 && features.shape[1] > 0,
            "GaussianFit: features \(features.shape) are not [N, D] with N >= 2")
        let (count, width) = (features.shape[0], features.shape[1])
        var mean = [Double](repeating: 0, count: width)
        var covariance = [Double](repeating: 0, count: width * width)
        features.withUnsafeBufferPointer { rows in
            for index in rows.indices { mean[index % width] += Double(rows[index]) / Double(count) }
            covariance.withUnsafeMutableBufferPointer { covariance in
                var centred = mean
                for start in stride(from: 0, to: rows.count, by: width) {
                    for i in 0..<width { centred[i] = Double(rows[start + i]) - mean[i] }
                    centred.withUnsafeBufferPointer { Self.addOuterProduct(of: $0, to: covariance) }
                }
                for i in 0..<width {
                    for j in i..<width {
                        covariance[i * width + j] /= Double(count - 1)
                        covariance[j * width + i] = covariance[i * width + j]
                    }
                }
            }
        }
        self.width = width
        self.mean = mean
        self.covariance = covariance
        self.count = count
    }

    /// Adds x xᵀ to the upper triangle of `matrix`.
    private static func addOuterProduct(
        of x: UnsafeBufferPointer<Double>, to matrix: UnsafeMutableBufferPointer<Double>
    ) {
        for i in x.indices {
            let row = i * x.count
            for j in i..<x.count { matrix[row + j] += x[i] * x[j] }
        }
    }
}
