// SPDX-License-Identifier: Apache-2.0
// The grids that the exact solver chooses from for one layer, with their cost and their error.

import Foundation
import Recipes

/// One grid of a layer.
struct LayerChoice {
    let bits: BitWidth
    /// The entropy of the codes, and the dead zone that gives it; nil where a weight costs log2(levels) bits and is
    /// rounded to the nearest code.
    let coded: (deadZone: Float, entropy: Double)?
    /// The quantization error of the layer by the allocation metric.
    let error: Double
    /// Whether the error was assumed, because it is beyond the measured ones.
    let isExtrapolated: Bool

    init(_ bits: BitWidth, error: Double = 0, isExtrapolated: Bool = false) {
        (self.bits, coded, self.error, self.isExtrapolated) = (bits, nil, error, isExtrapolated)
    }

    init(_ rate: CodeRate, error: Double, isExtrapolated: Bool) {
        (bits, coded) = (rate.bits, (rate.deadZone, rate.entropy))
        (self.error, self.isExtrapolated) = (error, isExtrapolated)
    }

    /// The cost of one weight, in bits.
    var bitsPerWeight: Double { coded?.entropy ?? bits.effectiveBits }

    /// Bits per weight beyond those of the grid's levels, <= 0.
    var savedBits: Double { bitsPerWeight - bits.effectiveBits }

    /// The bytes of the codes of `weights` weights.
    func codeBytes(_ weights: Int, _ storage: StorageModel) -> Int {
        coded.map { StorageModel.entropyCodedBytes(count: weights, entropy: $0.entropy) }
            ?? storage.codeBytes(weights, bits.levels)
    }
}

extension LayerChoice {
    /// The grids of each layer whose error was measured or extrapolated, in ascending order of bits.
    ///
    /// - Throws: `AllocationError.unmeasuredLayer` for the first layer without a choice.
    static func byLevels(
        _ problem: AllocationProblem, _ errors: LayerErrors, maximumBits: BitWidth
    ) throws(AllocationError) -> [[LayerChoice]] {
        var choices: [[LayerChoice]] = []
        for (index, candidate) in problem.candidates.enumerated() {
            let found = errors.choices(of: index).filter { candidate.allows($0.bits, maximum: maximumBits) }
            guard !found.isEmpty else { throw candidate.unmeasured(maximum: maximumBits) }
            choices.append(
                found.map {
                    LayerChoice($0.bits, error: $0.error, isExtrapolated: errors.isExtrapolated(index, $0.bits))
                })
        }
        return choices
    }

    /// All grids of the rate-distortion curves, in ascending order of entropy.
    ///
    /// The error of a grid follows from the error of the weights: between measured bit widths, the logarithm of the
    /// layer's error is linear in that of the weights' error; beyond them, both are proportional.
    ///
    /// - Throws: `AllocationError.missingRates`, `.missingScore`, `.unmeasuredLayer` for the first such layer;
    ///   `.scoresTooLarge`.
    static func byEntropy(
        _ problem: AllocationProblem, _ errorFunction: ErrorFunction, maximumBits: BitWidth
    ) throws(AllocationError) -> [[LayerChoice]] {
        var choices: [[LayerChoice]] = []
        for candidate in problem.candidates {
            guard !candidate.rates.isEmpty else { throw .missingRates(path: candidate.path) }
            let error = try ErrorOfWeightError(candidate, errorFunction)
            let found = candidate.rates.filter { rate in
                candidate.allows(rate.bits, maximum: maximumBits)
                    && (candidate.pinned == nil || rate.deadZone == BitRecipe.deadZoneRange.lowerBound)
            }
            guard !found.isEmpty else { throw candidate.unmeasured(maximum: maximumBits) }
            choices.append(
                found.map { rate in
                    LayerChoice(
                        rate, error: error(rate.weightError), isExtrapolated: !error.range.contains(rate.weightError))
                }.sorted { ($0.bitsPerWeight, $0.error) < ($1.bitsPerWeight, $1.error) })
        }
        guard choices.joined().reduce(0, { $0 + abs($1.error) }).isFinite else { throw .scoresTooLarge }
        return choices
    }
}

extension AllocationProblem.Candidate {
    fileprivate func allows(_ bits: BitWidth, maximum: BitWidth) -> Bool {
        pinned.map { $0 == bits } ?? (bits <= maximum)
    }

    fileprivate func unmeasured(maximum: BitWidth) -> AllocationError {
        .unmeasuredLayer(path: path, bits: pinned.map { [$0] } ?? BitWidth.all.filter { $0 <= maximum })
    }
}

/// The error of a layer as a function of the error of its weights, through the measured bit widths.
private struct ErrorOfWeightError {
    /// Ascending by the error of the weights.
    private let points: [(weightError: Double, error: Double)]

    init(
        _ candidate: AllocationProblem.Candidate, _ errorFunction: ErrorFunction
    ) throws(AllocationError) {
        var points: [(weightError: Double, error: Double)] = []
        for (bits, scores) in candidate.scores.sorted(by: { $0.key > $1.key }) {
            guard let error = errorFunction(scores) else {
                throw .missingScore(path: candidate.path, bits: bits, metric: errorFunction.metric)
            }
            let nearest = BitRecipe.deadZoneRange.lowerBound
            guard let rate = candidate.rates.first(where: { $0.bits == bits && $0.deadZone == nearest }) else {
                continue
            }
            points.append((rate.weightError, error))
        }
        guard !points.isEmpty else { throw .missingRates(path: candidate.path) }
        self.points = points.sorted { ($0.weightError, $0.error) < ($1.weightError, $1.error) }
    }

    /// The errors of the weights that were measured.
    var range: ClosedRange<Double> { points[0].weightError...points[points.count - 1].weightError }

    func callAsFunction(_ weightError: Double) -> Double {
        let upper = points.firstIndex { $0.weightError >= weightError }
        guard let upper, upper > 0 else { return proportional(points[upper ?? points.count - 1], weightError) }
        let (low, high) = (points[upper - 1], points[upper])
        guard low.weightError > 0, low.weightError < high.weightError, low.error > 0, high.error > 0 else {
            return proportional(high, weightError)
        }
        let share = log(weightError / low.weightError) / log(high.weightError / low.weightError)
        return low.error * pow(high.error / low.error, share)
    }

    private func proportional(_ point: (weightError: Double, error: Double), _ weightError: Double) -> Double {
        point.weightError > 0 ? point.error * weightError / point.weightError : point.error
    }
}
