// SPDX-License-Identifier: Apache-2.0
// Skewness of a layer's weights. BitsFusion's balanced grid assumes symmetric weights: 97% of SD 1.5's layers have a
// skewness within [-0.5, 0.5] (arXiv:2406.04333, section 3.2).

import Tensors

/// The third standardized moment of the elements of `weight`:
///
///     g = m_3 / m_2^(3/2),     m_k = 1/N Σ (w - mean)^k
///
/// - Parameter weight: any shape, finite.
/// - Returns: 0 for a symmetric distribution, > 0 for a long tail to the right; 0 where all elements are equal or there
///   are none.
public func skewness(of weight: Tensor) -> Double {
    guard weight.count > 0 else { return 0 }
    return weight.withUnsafeBufferPointer { values in
        let n = Double(values.count)
        let mean = values.reduce(0.0) { $0 + Double($1) } / n
        var second = 0.0
        var third = 0.0
        for value in values {
            let deviation = Double(value) - mean
            second += deviation * deviation
            third += deviation * deviation * deviation
        }
        second /= n
        third /= n
        let spread = second * second.squareRoot()
        // Deviations below the rounding of the mean are noise, and dividing by their cube may overflow.
        guard spread.isNormal else { return 0 }
        return third / spread
    }
}
