// SPDX-License-Identifier: Apache-2.0
// The quantization error of each layer at each bit width, extrapolated beyond the measured ones.

import Recipes

/// For each candidate, its quantization error by bits.
///
/// Each bit beyond the largest measured bit width divides the error by 4: a balanced grid of 2^b + 1 levels over the
/// same range has a step of range / 2^b, and the squared rounding error is a twelfth of the squared step. Unmeasured
/// bit widths below the largest measured one are not available.
struct LayerErrors {
    /// For each candidate, by bits.
    private let errors: [[BitWidth: Double]]
    /// The error of the first and last layer at their 8 bits, if measured.
    let fixed: Double
    /// For each candidate, the most bits that were measured.
    private let mostMeasuredBits: [BitWidth]

    /// - Throws: `AllocationError.unmeasuredLayer` for a candidate without a measurement; `.missingScore` for a
    ///   measurement without the metric; `.scoresTooLarge`.
    init(_ problem: AllocationProblem, _ errorFunction: ErrorFunction) throws(AllocationError) {
        var (errors, mostMeasuredBits) = ([[BitWidth: Double]](), [BitWidth]())
        for candidate in problem.candidates {
            var layerErrors: [BitWidth: Double] = [:]
            for (bits, scores) in candidate.scores.sorted(by: { $0.key < $1.key }) {
                guard let value = errorFunction(scores) else {
                    throw .missingScore(path: candidate.path, bits: bits, metric: errorFunction.metric)
                }
                layerErrors[bits] = value
            }
            guard let last = layerErrors.keys.max(), var value = layerErrors[last] else {
                throw .unmeasuredLayer(path: candidate.path, bits: BitWidth.all)
            }
            for bits in BitWidth.all where bits > last {
                value /= 4
                layerErrors[bits] = value
            }
            errors.append(layerErrors)
            mostMeasuredBits.append(last)
        }
        (self.errors, self.mostMeasuredBits) = (errors, mostMeasuredBits)
        fixed = problem.fixedScores.reduce(0) { $0 + (errorFunction($1) ?? 0) }
        let largestTotal = errors.reduce(abs(fixed)) { $0 + ($1.values.map { abs($0) }.max() ?? 0) }
        guard largestTotal.isFinite, errorFunction.isFinite else { throw .scoresTooLarge }
    }

    /// The available bits of candidate `index` in ascending order, with their errors.
    func choices(of index: Int) -> [(bits: BitWidth, error: Double)] {
        errors[index].sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Whether the error was extrapolated.
    func isExtrapolated(_ index: Int, _ bits: BitWidth) -> Bool { bits > mostMeasuredBits[index] }

    /// The total quantization error: the sum over candidates and fixed layers; nil if a layer's bits are not available.
    func total(_ bits: [BitWidth]) -> Double? {
        var sum = fixed
        for (layerErrors, chosen) in zip(errors, bits) {
            guard let error = layerErrors[chosen] else { return nil }
            sum += error
        }
        return sum
    }
}
