// SPDX-License-Identifier: Apache-2.0
// The one type for "close enough", and named tolerances with their derivations. u = 2⁻²⁴ is the unit roundoff of
// Float32. Tolerances of the kernels' tests are in Tests/TensorsTests/KernelTolerances.swift.

import Foundation

/// A bound on a difference: |a − ref| ≤ absolute + relative · |ref| + relativeToLargest · max |ref|.
public struct Tolerance: Sendable, CustomStringConvertible {
    public var absolute: Double
    public var relative: Double
    /// In units of the largest magnitude of all reference values.
    public var relativeToLargest: Double

    public init(absolute: Double = 0, relative: Double = 0, relativeToLargest: Double = 0) {
        self.absolute = absolute
        self.relative = relative
        self.relativeToLargest = relativeToLargest
    }

    public var description: String { "\(absolute) + \(relative)·|ref| + \(relativeToLargest)·max |ref|" }

    /// Whether `a` is close to `reference`. NaN and infinities only match themselves. `largest` is max |ref| of all
    /// reference values.
    public func admits(_ a: Double, _ reference: Double, largest: Double = 0) -> Bool {
        if reference.isNaN { return a.isNaN }
        if reference.isInfinite || a.isInfinite { return a == reference }
        return abs(a - reference) <= absolute + relative * abs(reference) + relativeToLargest * largest
    }

    // The contract with diffusers, relative to the largest reference value.

    /// Outputs and trajectories against diffusers in Float32.
    public static let output = Tolerance(relativeToLargest: 1e-4)
    /// Parameter gradients against diffusers in Float32.
    public static let gradient = Tolerance(relativeToLargest: 1e-3)
    /// Losses of distillation in Float32 against PyTorch in Float64: means of squared differences, whose rounding
    /// errors cancel.
    public static let trainingLoss = Tolerance(relative: 1e-5)
    /// Gradients of distillation against PyTorch in Float64. Teacher and student have the same parameters up to a few
    /// percent, so that their difference has some tens of times their rounding errors.
    public static let trainingGradient = Tolerance(relativeToLargest: 1e-4)
    /// Rounding errors of a gradient that should be 0, relative to the model's largest gradient.
    public static let gradientNoise = Tolerance(relativeToLargest: 1e-6)
    /// Two ways through the same Float32 arithmetic.
    public static let sameArithmetic = Tolerance(relativeToLargest: 1e-6)
    /// A result that took a few hundred double-precision operations on values of order 1.
    public static let double = Tolerance(absolute: 1e-11, relative: 1e-11)

    /// Unit roundoff of Float32.
    public static let unitRoundoff = 0x1p-24

    /// Bit for bit (zeros of both signs are equal).
    public static let exact = Tolerance(absolute: 0, relative: 0)

    /// One correctly rounded operation on Float32 inputs, against the double-precision result: half an ulp,
    /// i.e. u relative; 2⁻¹⁵⁰ is half of the smallest subnormal.
    public static let oneRounding = Tolerance(absolute: 0x1p-149, relative: unitRoundoff * 1.001)

    /// A handful of Float32 roundings in sequence: `roundings` · u.
    public static func roundings(_ roundings: Int, absolute: Double = 0x1p-149) -> Tolerance {
        Tolerance(absolute: absolute, relative: Double(roundings) * unitRoundoff * 1.01)
    }

    /// A sum of `n` terms with Σ|term| = `magnitude`: every term passes through at most `n` roundings of
    /// partial sums no larger than the magnitude. Random rounding errors grow with √n; four standard
    /// deviations are allowed.
    public static func float32Reduction(n: Int, magnitude: Double) -> Tolerance {
        Tolerance(absolute: (4 * Double(max(n, 1)).squareRoot() + 2) * unitRoundoff * magnitude, relative: 0)
    }

    /// A composite op (normalisation, attention, convolution) against PyTorch in Float32: both sides err by
    /// some tens of u relative to the largest intermediate, which for inputs of order 1 is of order 1.
    public static let float32Golden = Tolerance(absolute: 2e-5, relative: 2e-5)

    /// Images after at most 10 sampling steps whose predictions were summed in another order: one prediction errs by
    /// some 20u ≈ 1e-6 of values of order 1, and a step passes errors of its input on, multiplied by at most about 1.5.
    public static let sampling = Tolerance(absolute: 1e-4, relative: 1e-4)

    /// As `sampling`, with guidance, which multiplies the errors of two predictions by the guidance scale (at most
    /// 7.5), or with time features that were computed in another order.
    public static let guidedSampling = Tolerance(absolute: 1e-3, relative: 1e-3)

    /// One rounding to Float16 (11 significant bits); below 2⁻¹⁴ the spacing is 2⁻²⁴, half of which is below 1e-7.
    public static let float16Rounding = Tolerance(absolute: 1e-7, relative: 0x1p-11)

    /// One rounding to bfloat16 (8 significant bits).
    public static let bfloat16Rounding = Tolerance(absolute: 1e-7, relative: 0x1p-8)

    /// Central differences of fourth order with step 2⁻⁵: truncation h⁴·f⁽⁵⁾/30 ≈ 3e-8, and rounding of the
    /// two losses, about 4u·|y| / h ≈ 1e-5 for outputs of order 1, times the spread of the projection.
    public static let finiteDifference = Tolerance(absolute: 1e-3, relative: 2e-3)
}
