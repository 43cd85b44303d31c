// SPDX-License-Identifier: Apache-2.0
// Tolerances of vectorized kernels relative to the scalar reference, and their derivation. u = 2⁻²⁴.

import TestKit

@testable import Tensors

extension Tolerance {
    /// exp: 2 ulp = 4u by the degree-6 polynomial on [-ln2/2, ln2/2], one more for the rounding of the
    /// argument's reduction; results below 2⁻¹²⁶ are flushed to zero.
    static let exponential = Tolerance(absolute: 0x1p-126, relative: 6 * unitRoundoff)

    /// Functions of a sigmoid (silu, quickGELU, mish): exp (6u), a quotient and products (6u); relative where
    /// exp neither overflows nor underflows. The absolute part bounds |x·sigmoid(x)| below -87.
    static let sigmoidFamily = Tolerance(absolute: 1e-35, relative: 16 * unitRoundoff)

    /// Slopes of the sigmoid family pass through zero: an absolute error of some u relative to terms of order
    /// |x| ≤ 8.
    static let sigmoidSlope = Tolerance(absolute: 2e-6, relative: 16 * unitRoundoff)

    /// tanh as 1 - 2/(e²ˣ + 1): cancels near zero, so the error is absolute, 3u; erf likewise with 1.5e-7
    /// from the approximation (Abramowitz and Stegun 7.1.26) plus 3u.
    static let tanhAbsolute = Tolerance(absolute: 4e-7, relative: 0)

    /// x·Φ(x): the error of erf times |x|/2 for |x| ≤ 8, and of the products.
    static let geluFamily = Tolerance(absolute: 2e-6, relative: 4 * unitRoundoff)

    /// Normalized rows: inputs of order 1 with mean and variance of some roundings, times weights of order 1;
    /// the sigmoid of SiLU on top.
    static let normalized = Tolerance(absolute: 4e-6, relative: 16 * unitRoundoff)

    /// Gradients of normalizations: sums of products with random signs, n ≤ 4097, relative to the gradient's
    /// size.
    static let normalizedGradient = Tolerance(absolute: 1e-5, relative: 32 * unitRoundoff)

    /// Attention over values of order 1: scores of a few units with relative error 20u change probabilities by the same
    /// relative amount; averages of values have this error and their own rounding errors.
    static let attention = Tolerance(absolute: 4e-6, relative: 32 * unitRoundoff)

    /// Winograd transforms F(2) and F(4) of values of order 1: the absolute row sums of both transforms are up to 20,
    /// so that intermediate values are up to some hundreds, with an error of u relative to that.
    static let winogradTransform = Tolerance(absolute: 1e-4)

    /// A product of int8 activations and low-bit codes: the sum of integers is exact; the scales of the token and of
    /// the channel, and the conversion of results of order 10, give a few roundings.
    static let integerProduct = Tolerance(absolute: 2e-5, relative: 1e-5)

    /// The same plus bias, channel bias and residual, three more roundings at the size of the result.
    static let integerProductWithEpilogue = Tolerance(absolute: 4e-5, relative: 1e-5)

    /// Gradients of `attention`: sums over up to 300 queries or keys of products of such numbers.
    static let attentionGradient = Tolerance(absolute: 4e-5, relative: 64 * unitRoundoff)
}
