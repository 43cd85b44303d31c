// SPDX-License-Identifier: Apache-2.0
// The Fréchet distance of Heusel et al. 2017 (arXiv:1706.08500): FID where the features are Inception's; here they
// are the CLIP-proxy's, so values compare with each other and not with published ones.

import Tensors

/// The squared Fréchet distance between two Gaussians (Dowson and Landau 1982):
///
///     d² = ‖μ_a - μ_b‖² + tr(Σ_a + Σ_b - 2 (Σ_a^½ Σ_b Σ_a^½)^½)
///
/// The matrix under the last root is symmetric and positive semi-definite, unlike the product Σ_a Σ_b of the usual
/// formula, so its root's trace is the sum of √λ over its eigenvalues. Eigenvalues below 0, which only rounding can
/// make, count as 0.
///
/// - Parameters:
///   - a: one fit.
///   - b: another, of the same width.
/// - Returns: d² >= 0 up to rounding, in squared units of the features; NaN where a fit is not finite.
/// - Precondition: equal widths.
/// - Complexity: O(D³).
public func frechetDistance(_ a: GaussianFit, _ b: GaussianFit) -> Double {
    precondition(a.width == b.width, "frechetDistance: features of width \(a.width) against \(b.width)")
    let width = a.width
    guard [a.mean, b.mean, a.covariance, b.covariance].allSatisfy({ $0.allSatisfy(\.isFinite) }) else {
        return .nan
    }
    let shift = zip(a.mean, b.mean).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let root = SymmetricEigen(a.covariance, order: width).matrix { max($0, 0).squareRoot() }
    let inner = product(product(root, b.covariance, width), root, width)
    let overlap = SymmetricEigen(inner, order: width).values.reduce(0) { $0 + max($1, 0).squareRoot() }
    return shift + trace(a.covariance, width) + trace(b.covariance, width) - 2 * overlap
}

/// The squared Fréchet distance between the Gaussian fits of two sets of features.
///
/// The estimate is biased upwards by about 1/N: compare only distances between sets of the same sizes.
///
/// - Parameters:
///   - features: `[N, D]`, N >= 2, best N > D.
///   - reference: `[M, D]`, likewise.
/// - Returns: as of `frechetDistance(_:_:)` between two fits.
public func frechetDistance(features: Tensor, reference: Tensor) -> Double {
    frechetDistance(GaussianFit(features), GaussianFit(reference))
}

private func trace(_ matrix: [Double], _ width: Int) -> Double {
    (0..<width).reduce(0) { $0 + matrix[$1 * width + $1] }
}

/// `a` times `b`, both `[D, D]` row-major.
private func product(_ a: [Double], _ b: [Double], _ width: Int) -> [Double] {
    var result = [Double](repeating: 0, count: width * width)
    a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
            result.withUnsafeMutableBufferPointer { result in
                for i in 0..<width {
                    for k in 0..<width {
                        let factor = a[i * width + k]
                        for j in 0..<width { result[i * width + j] += factor * b[k * width + j] }
                    }
                }
            }
        }
    }
    return result
}
