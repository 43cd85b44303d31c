// SPDX-License-Identifier: Apache-2.0
// The Fréchet distance between image features (Heusel et al. 2017, arXiv:1706.08500). With features of InceptionV3 it
// is FID; with features of another encoder, values are comparable with each other but not with published ones.
// N features of dimension D.

import Tensors

/// Mean and covariance of a sample of features.
public struct GaussianFit: Hashable, Sendable {
    /// D, the number of values of a feature.
    public let dimension: Int
    /// μ, `[D]`.
    public let mean: [Double]
    /// Σ = 1/(N - 1) Σ_n (x_n - μ)(x_n - μ)ᵀ, `[D, D]`, symmetric.
    public let covariance: [Double]
    /// N, the number of features.
    public let count: Int

    /// The fit of a sample. With N <= D the covariance is singular, and distances between fits are dominated by noise.
    ///
    /// - Parameter features: `[N, D]`, N >= 2. A value that is not finite makes the fit not finite.
    /// - Complexity: O(N D²).
    public init(_ features: Tensor) {
        precondition(
            features.rank == 2 && features.shape[0] >= 2 && features.shape[1] > 0,
            "GaussianFit: features \(features.shape) are not [N, D] with N >= 2")
        let (count, dimension) = (features.shape[0], features.shape[1])
        var mean = [Double](repeating: 0, count: dimension)
        var covariance = [Double](repeating: 0, count: dimension * dimension)
        features.withUnsafeBufferPointer { rows in
            for index in rows.indices { mean[index % dimension] += Double(rows[index]) / Double(count) }
            covariance.withUnsafeMutableBufferPointer { covariance in
                var centered = mean
                for start in stride(from: 0, to: rows.count, by: dimension) {
                    for i in 0..<dimension { centered[i] = Double(rows[start + i]) - mean[i] }
                    centered.withUnsafeBufferPointer { Self.addOuterProduct(of: $0, to: covariance) }
                }
                for i in 0..<dimension {
                    for j in i..<dimension {
                        covariance[i * dimension + j] /= Double(count - 1)
                        covariance[j * dimension + i] = covariance[i * dimension + j]
                    }
                }
            }
        }
        self.dimension = dimension
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

/// The squared Fréchet distance between two Gaussians (Dowson and Landau 1982):
///
///     d² = ‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a^½ Σ_b Σ_a^½)^½)
///
/// The matrix under the last root is symmetric and positive semi-definite, unlike the product Σ_a Σ_b of the usual
/// formula, so that the trace of its root is the sum of √λ over its eigenvalues λ. Negative eigenvalues are rounding
/// errors and count as 0.
///
/// - Parameters:
///   - a: the first fit.
///   - b: the second fit.
/// - Returns: d² >= 0 up to rounding, in squared units of the features; NaN if a fit is not finite.
/// - Precondition: equal dimensions.
/// - Complexity: O(D³).
public func frechetDistance(_ a: GaussianFit, _ b: GaussianFit) -> Double {
    precondition(
        a.dimension == b.dimension, "frechetDistance: features of dimensions \(a.dimension) and \(b.dimension)")
    let dimension = a.dimension
    guard [a.mean, b.mean, a.covariance, b.covariance].allSatisfy({ $0.allSatisfy(\.isFinite) }) else {
        return .nan
    }
    let shift = zip(a.mean, b.mean).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let root = SymmetricEigen(a.covariance, order: dimension).matrix { max($0, 0).squareRoot() }
    let inner = product(product(root, b.covariance, dimension), root, dimension)
    let overlap = SymmetricEigen(inner, order: dimension).values.reduce(0) { $0 + max($1, 0).squareRoot() }
    return shift + trace(a.covariance, dimension) + trace(b.covariance, dimension) - 2 * overlap
}

/// The squared Fréchet distance between the Gaussian fits of two sets of features.
///
/// The estimate is biased upwards by about 1/N. Compare only distances between sets of equal sizes.
///
/// - Parameters:
///   - features: `[N, D]`, N >= 2, preferably N > D.
///   - reference: `[M, D]`, M >= 2, preferably M > D.
/// - Returns: as `frechetDistance(_:_:)` of two fits.
public func frechetDistance(features: Tensor, reference: Tensor) -> Double {
    frechetDistance(GaussianFit(features), GaussianFit(reference))
}

private func trace(_ matrix: [Double], _ dimension: Int) -> Double {
    (0..<dimension).reduce(0) { $0 + matrix[$1 * dimension + $1] }
}

/// `a` times `b`, both `[D, D]` row-major.
private func product(_ a: [Double], _ b: [Double], _ dimension: Int) -> [Double] {
    var result = [Double](repeating: 0, count: dimension * dimension)
    a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
            result.withUnsafeMutableBufferPointer { result in
                for i in 0..<dimension {
                    for k in 0..<dimension {
                        let factor = a[i * dimension + k]
                        for j in 0..<dimension { result[i * dimension + j] += factor * b[k * dimension + j] }
                    }
                }
            }
        }
    }
    return result
}
