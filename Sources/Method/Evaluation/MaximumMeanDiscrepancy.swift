// SPDX-License-Identifier: Apache-2.0
// CMMD (Jayasumana et al. 2024, arXiv:2401.09603): the squared maximum mean discrepancy between the CLIP features of
// two sets of images, with a Gaussian kernel. N and M features of dimension D.

import Foundation
import Tensors

/// The estimators of Gretton et al. 2012 (JMLR 13), whose values differ by about 1/N.
public enum DiscrepancyEstimator: Sendable {
    /// Equation 5, the biased estimator of minimum variance: at least 0, and 0 for equal sets. The reference code of
    /// CMMD (google-research, cmmd/distance.py), and with it published values, uses this one.
    case minimumVariance
    /// Equation 3, without the pairs of a feature with itself. It is unbiased, and may be below 0.
    case unbiased
}

/// CMMD between two sets of features:
///
///     1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)),    k(x, y) = exp(-‖x - y‖² / (2 · 10²))
///
/// x and y are the features as unit vectors, E the mean over all pairs.
///
/// - Parameters:
///   - features: `[N, D]`, N >= 1, or N >= 2 for the unbiased estimator; of any length.
///   - reference: `[M, D]`, with M as N.
///   - estimator: the means of the first two terms.
/// - Returns: the discrepancy; NaN if a feature is not finite or has length 0.
/// - Complexity: O((N + M)² D).
public func clipMaximumMeanDiscrepancy(
    features: Tensor, reference: Tensor, estimator: DiscrepancyEstimator = .minimumVariance
) -> Double {
    let fewest = estimator == .unbiased ? 2 : 1
    precondition(
        features.rank == 2 && reference.rank == 2 && features.shape[1] == reference.shape[1]
            && min(features.shape[0], reference.shape[0]) >= fewest,
        "clipMaximumMeanDiscrepancy: features \(features.shape), reference \(reference.shape)")
    let (x, y, dimension) = (unitRows(features), unitRows(reference), features.shape[1])
    let within = [x, y].reduce(0.0) { sum, rows in
        let count = Double(rows.count / dimension)
        // Pairs of different rows count twice; those of a row with itself have the kernel 1.
        let pairs = 2 * kernelSum(rows, rows, dimension, isSymmetric: true)
        return sum + (estimator == .unbiased ? pairs / (count * (count - 1)) : (pairs + count) / (count * count))
    }
    let between = kernelSum(x, y, dimension, isSymmetric: false)
    return 1000 * (within - 2 * between / Double(features.shape[0] * reference.shape[0]))
}

/// The sum of k over all pairs of rows, or over the pairs i < j of rows of one matrix.
private func kernelSum(_ x: [Double], _ y: [Double], _ dimension: Int, isSymmetric: Bool) -> Double {
    x.withUnsafeBufferPointer { x in
        y.withUnsafeBufferPointer { y in
            var sum = 0.0
            for a in stride(from: 0, to: x.count, by: dimension) {
                for b in stride(from: isSymmetric ? a + dimension : 0, to: y.count, by: dimension) {
                    var distance = 0.0
                    for index in 0..<dimension {
                        let difference = x[a + index] - y[b + index]
                        distance += difference * difference
                    }
                    sum += exp(-distance / 200)
                }
            }
            return sum
        }
    }
}

/// The rows of a matrix, scaled to length 1.
private func unitRows(_ features: Tensor) -> [Double] {
    let dimension = features.shape[1]
    var rows = features.values.map { Double($0) }
    for start in stride(from: 0, to: rows.count, by: max(dimension, 1)) {
        let length = rows[start..<start + dimension].reduce(0) { $0 + $1 * $1 }.squareRoot()
        for index in start..<start + dimension { rows[index] /= length }
    }
    return rows
}
