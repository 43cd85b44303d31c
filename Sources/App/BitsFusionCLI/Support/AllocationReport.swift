// SPDX-License-Identifier: Apache-2.0
// The report of `allocate`, as text and as JSON.

import BitsFusion
import Foundation

/// The result of an allocation.
struct AllocationReport: Encodable {
    struct LayerCount: Encodable {
        let bits: Int
        let layers: Int
        let weights: Int
    }

    let file: String
    let method: String
    let metric: String
    let averageBits: Double
    let entropyBits: Double?
    let smallestBudget: Double
    let largestBudget: Double
    let threshold: Double?
    let predictedError: Double?
    let lowerBound: Double?
    /// The unit of the budget.
    private let unit: Unit
    private enum Unit { case bits, bytes, decibels }
    let predictedPSNR: Double?
    let extrapolated: [String]
    let verified: [VerifiedRecipe]?
    let storedBytes: Int?
    let bonusBits: [String: Int]
    let bitWidths: [LayerCount]
    /// The number of layers with a dead zone.
    let deadZones: Int

    private enum CodingKeys: CodingKey {
        case file, method, metric, averageBits, entropyBits, smallestBudget, largestBudget, threshold, predictedError,
            lowerBound
        case predictedPSNR, extrapolated, verified, storedBytes, bonusBits, bitWidths, deadZones
    }

    init(_ allocation: BitAllocation, table: SensitivityTable, file: String, limit: BudgetLimit) {
        switch limit {
        case .averageBits: unit = .bits
        case .storedBytes: unit = .bytes
        case .psnr: unit = .decibels
        }
        self.file = file
        method = allocation.recipe.method ?? ""
        metric = allocation.metric.rawValue
        averageBits = allocation.averageBits
        entropyBits = allocation.entropyBits
        smallestBudget = allocation.attainable.lowerBound
        largestBudget = allocation.attainable.upperBound
        threshold = allocation.threshold
        predictedError = allocation.predictedError
        lowerBound = allocation.lowerBound
        predictedPSNR = allocation.predictedPSNR
        extrapolated = allocation.extrapolated.map(\.rawValue)
        verified = allocation.recipe.verified
        storedBytes = allocation.recipe.storedBytes
        if case .given(let bits) = allocation.bonus {
            bonusBits = Dictionary(uniqueKeysWithValues: bits.map { ($0.key.rawValue, $0.value) })
        } else {
            bonusBits = [:]
        }
        deadZones = allocation.recipe.deadZones.count
        var weights: [LayerID: Int] = [:]
        for layer in table.inventory?.layers ?? [] { weights[layer.path] = layer.weights }
        for layer in table.layers { weights[layer.path] = layer.weights }
        bitWidths = BitWidth.all.compactMap { bits in
            let layers = allocation.recipe.layers.filter { $0.value == bits }.keys
            guard !layers.isEmpty else { return nil }
            return LayerCount(
                bits: bits.rawValue, layers: layers.count,
                weights: layers.reduce(0) { $0 + (weights[$1] ?? 0) })
        }
    }

    func print() {
        var lines = TextTable(["bits", "levels", "layers", "weights"], alignments: [.right])
        for row in bitWidths {
            lines.add([
                "\(row.bits)", "\(BitWidth(row.bits).levels)", "\(row.layers)",
                Numbers.grouped(row.weights),
            ])
        }
        lines.print()
        if let verified { print(verified) }
        Output.line(
            "\(file): \(Numbers.fixed(averageBits, 4)) average bits"
                + (entropyBits.map { " (entropy \(Numbers.fixed($0, 4)))" } ?? "") + ", \(method) by \(metric)"
                + (storedBytes.map { ", \(Numbers.bytes($0)) packed" } ?? "")
                + (predictedError.map { String(format: ", total error %.3e", $0) } ?? "")
                + (predictedPSNR.map { " (\(Numbers.fixed($0, 2)) dB)" } ?? "") + proof)
        let (low, high) = (budget(smallestBudget, .up), budget(largestBudget, .down))
        if smallestBudget < largestBudget, low != high {
            Output.line("useful budget range: \(low) to \(high)")
        } else {
            Output.line("only one efficient recipe exists; the budget has no effect")
        }
        let isByEntropy = method == AllocationMethod.entropy.rawValue
        if isByEntropy {
            Output.line("\(deadZones) layers have dead zones; the budget is the entropy of the codes before training")
        }
        if !extrapolated.isEmpty {
            Output.line(
                isByEntropy
                    ? "\(extrapolated.count) layers have grids beyond the measured errors; their error was assumed to "
                        + "be proportional to that of the weights"
                    : "\(extrapolated.count) layers have more bits than were measured; each further bit was assumed to "
                        + "divide the error by 4")
        }
    }

    /// The proof of optimality; for a PSNR budget the bound is of the bits.
    private var proof: String {
        guard let lowerBound else { return "" }
        let bits = method == AllocationMethod.entropy.rawValue ? entropyBits ?? averageBits : averageBits
        let value = unit == .decibels ? bits : predictedError ?? lowerBound
        let gap = value - lowerBound
        let minimum = unit == .decibels ? "the fewest bits" : "the minimum"
        return gap > 0
            ? String(format: ", within %.1e of %@", gap / abs(value), minimum) : ", proven \(minimum)"
    }

    /// In bits, bytes or dB, rounded so that the budget stays within the useful range.
    private func budget(_ value: Double, _ rule: FloatingPointRoundingRule) -> String {
        switch unit {
        case .bytes: "\(Numbers.grouped(Int(value))) bytes"
        case .bits: "\(Numbers.fixed((value * 1e4).rounded(rule) / 1e4, 4)) bits"
        case .decibels: "\(Numbers.fixed((value * 1e2).rounded(rule) / 1e2, 2)) dB"
        }
    }

    private func print(_ verified: [VerifiedRecipe]) {
        var lines = TextTable(["recipe", "bits", "predicted", "MSE", "PSNR", "noise", ""])
        func text(_ value: Double?) -> String { value.map { String(format: "%.3e", $0) } ?? "–" }
        for recipe in verified {
            lines.add([
                "\(recipe.method) by \(recipe.metric)", Numbers.fixed(recipe.averageBits, 4),
                text(recipe.predictedError), text(recipe.measured.mse),
                recipe.measured.psnr.map { Numbers.fixed($0, 2) } ?? "–", text(recipe.measured.noise),
                recipe.isKept ? "kept" : "",
            ])
        }
        lines.print()
    }
}
