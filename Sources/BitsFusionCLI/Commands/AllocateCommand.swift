// SPDX-License-Identifier: Apache-2.0
// `bitsfusion allocate`: a sensitivity table and a budget become a recipe.

import ArgumentParser
import BitsFusion
import Foundation

struct AllocateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "allocate",
        abstract: "Choose the bits of every layer for a budget.",
        discussion: """
            The budget is the average over all linear and convolution weights; the 8-bit first and last layer and \
            the cached time features are paid out of it. The recipe names the model that was analyzed, so that \
            `bitsfusion distill` finds it.

            optimal, the default, makes the sum of the layers' damages as small as the budget allows, and proves it; widths \
            above the measured ones count a quarter of the damage for each bit more. threshold is the paper's rule: each \
            layer gets the narrowest of 1, 2, 3 bits whose score is below one threshold, else 4. Docs/Method.md compares \
            them.

            The size of a file is its payload: codes, scales, time features and all other parameters, as `pack` counts \
            them and `info` prints them. A PSNR is a forecast: squared errors of single layers are added up.

            Examples:

              bitsfusion allocate sensitivity.json --avg-bits 1.99 -o recipe.json
              bitsfusion allocate --method optimal --damage noise --size 650kB --pin 'attn2\\.to_[kv]$=4'
              bitsfusion allocate --curve curve.json
              bitsfusion allocate --verify-top 5
            """)

    @Argument(help: "The table that `bitsfusion analyze` wrote.")
    var sensitivity = "sensitivity.json"

    @Option(parsing: .unconditional, help: "The average bits of a weight (default: 1.99).")
    var avgBits: Double?

    @Option(
        help:
            "In place of average bits: the bytes of the packed file's payload, such as 218MB (B, kB, MB, GB, KiB, MiB, GiB)."
    )
    var size: ByteCount?

    @Option(help: "In place of a size: the PSNR of pictures, in dB, that the smallest model shall keep.")
    var minPsnr: Double?

    @Option(
        help: "How widths are chosen: optimal (the least sum of damages) or threshold (the paper's rule).")
    var method = AllocationMethod.optimal

    @Option(help: "Give layers whose path matches <regex> this width: <regex>=<bits>; the last match counts.")
    var pin: [LayerPin] = []

    @Option(help: "The widest width to choose, 1 to 8.")
    var maxBits = 8

    @Option(
        help:
            "Also write damage over size for all budgets, by both methods, here and as a picture beside it (.svg)."
    )
    var curve: String?

    @Option(
        help: """
            Quantize the whole model by up to this many recipes, of both methods and every damage that the table has, \
            measure what they do together, and keep the best: by noise error where --damage is noise or fisher, else by \
            MSE; with --min-psnr the smallest that keeps it.
            """)
    var verifyTop: Int?

    @Option(help: "For --verify-top: the model (default: the one that the table names).")
    var model: ModelReference?

    @Option(
        help:
            "The damage that layers are compared by (default: the first of noise, mse and fisher that the table has for all layers)."
    )
    var damage: DamageMeasure?

    @Option(
        parsing: .unconditional,
        help: "threshold: exponent of the layer size in the sensitivity score (default: 0.3).")
    var eta: Double?

    @Option(
        parsing: .unconditional,
        help: "Inference steps whose time features are cached; 0 keeps the time layers.")
    var cachedSteps = defaultCachedSteps

    @Flag(
        inversion: .prefixedNo,
        help:
            "threshold: give the layers with the largest CLIP-score drops up to three more bits (default: yes)."
    )
    var clipBonus: Bool?

    @Option(help: "The encoding that stored bytes are forecast for.")
    var encoding = PackingEncoding.radix

    @Option(name: .shortAndLong, help: "The recipe to write.")
    var output = "recipe.json"

    @Option(help: "How to write it: json, list (path: bits) or apple (for mixed_bit_compression_apply.py).")
    var format = RecipeFormat.json

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try validateCachedSteps(cachedSteps)
        if [avgBits != nil, size != nil, minPsnr != nil].count(where: { $0 }) > 1 {
            throw ValidationError("--avg-bits, --size and --min-psnr exclude each other")
        }
        if BitWidth(rawValue: maxBits) == nil {
            throw ValidationError("--max-bits: expected 1 to 8, found \(maxBits)")
        }
        if let verifyTop, !(1...100).contains(verifyTop) {
            throw ValidationError("--verify-top: expected 1 to 100, found \(verifyTop)")
        }
        let usesThreshold = method == .threshold || curve != nil || verifyTop != nil
        if !usesThreshold, eta != nil || clipBonus != nil {
            throw ValidationError("--eta and --clip-bonus are for --method threshold")
        }
        if let curve {
            let picture = Self.picturePath(curve)
            let names = [curve, picture, output].map { URL(fileURLWithPath: $0).standardizedFileURL.path }
            if Set(names).count < names.count {
                throw ValidationError(
                    "--curve: \(curve) and the picture \(picture) beside it need names of their own; give a .json name"
                )
            }
        }
        if model != nil && verifyTop == nil { throw ValidationError("--model is for --verify-top") }
    }

    func run() throws {
        common.apply()
        let table = try SensitivityTable.load(contentsOf: URL(fileURLWithPath: sensitivity))
        for path in [output, curve, curve.map(Self.picturePath)].compactMap({ $0 }) {
            try Output.checkCanCreate(path, keeping: [sensitivity])
        }
        let storage =
            table.inventory.map { TimeFeatureStorage(cachedSteps: cachedSteps, of: $0) }
            ?? (cachedSteps == 0 ? .layersKept : .cached(steps: cachedSteps))
        let budget = BitBudget(limit, timeFeatures: storage)
        var allocation = try allocateBits(table, budget: budget, method: method, options: options(damage))
        if let verifyTop {
            allocation = try RecipeVerification(
                table: table, sensitivity: sensitivity, model: model, common: common
            ).best(
                of: candidates(table, budget, first: allocation, count: verifyTop), by: allocation.damage,
                minimumPSNR: minPsnr)
        }
        allocation.recipe.manifest = try Output.manifest(inputs: [sensitivity])
        if let curve { try draw(table, storage, to: curve) }
        try allocation.recipe.write(to: URL(fileURLWithPath: output), as: format)
        if !allocation.countsWholeModel {
            Output.warning(
                "\(sensitivity): has no inventory; its layers were taken for the whole model, and neither time features nor bytes "
                    + "were counted")
        }
        if case .skipped(let layers) = allocation.bonus {
            Output.warning(
                "\(sensitivity): \(layers) layers have no CLIP-score drop at 3 bits; no bonus bits given")
        }
        let report = AllocationReport(
            allocation, table: table, file: output, limit: limit)
        guard !json else { return try Output.json(report) }
        report.print()
        if let curve { Output.line("\(curve) and \(Self.picturePath(curve)): every budget") }
        Output.line("next: bitsfusion distill --stage 1 --recipe \(output), or quantize without training")
    }

    private var limit: BudgetLimit {
        if let size { return .storedBytes(size.bytes) }
        if let minPsnr { return .psnr(minPsnr) }
        return .averageBits(avgBits ?? 1.99)
    }

    private func options(_ damage: DamageMeasure?) -> AllocationOptions {
        AllocationOptions(
            eta: eta ?? 0.3, damage: damage, givesClipBonus: clipBonus ?? true, pins: pin,
            maximumWidth: BitWidth(maxBits), storage: .packed(encoding))
    }

    /// The recipe that was asked for, then those of both methods by every damage that the table has; none twice.
    private func candidates(
        _ table: SensitivityTable, _ budget: BitBudget, first: BitAllocation, count: Int
    ) -> [BitAllocation] {
        var found = [first]
        for damage in [first.damage] + DamageMeasure.allCases {
            for method in [AllocationMethod.optimal, .threshold] {
                // A damage that the table lacks, or a budget that one method cannot meet, leaves the others.
                guard
                    let next = try? allocateBits(
                        table, budget: budget, method: method, options: options(damage)),
                    !found.contains(where: { $0.recipe.layers == next.recipe.layers })
                else { continue }
                found.append(next)
            }
        }
        return Array(found.prefix(count))
    }

    private static func picturePath(_ curve: String) -> String {
        PathParts(curve).sibling(PathParts(curve).stem + ".svg")
    }

    private func draw(_ table: SensitivityTable, _ storage: TimeFeatureStorage, to path: String) throws {
        let curve = try allocationCurve(table, timeFeatures: storage, options: options(damage))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try AtomicFile.write(encoder.encode(curve), to: path)
        try AtomicFile.write(CurveDrawing(curve).svg, to: Self.picturePath(path))
    }
}

extension StorageModel {
    /// What packed files really take.
    static func packed(_ encoding: PackingEncoding, bytesPerScale: Int = 4) -> StorageModel {
        StorageModel(bytesPerScale: bytesPerScale) { count, levels in
            packedByteCount(count: count, levels: levels, encoding: encoding)
        }
    }
}

/// What an allocation came to.
private struct AllocationReport: Encodable {
    struct Width: Encodable {
        let bits: Int
        let layers: Int
        let weights: Int
    }

    let file: String
    let method: String
    let damage: String
    let averageBits: Double
    let smallestBudget: Double
    let largestBudget: Double
    let threshold: Double?
    let predictedDamage: Double?
    let lowerBound: Double?
    /// What the budget was in.
    private let unit: Unit
    private enum Unit { case bits, bytes, decibels }
    let predictedPSNR: Double?
    let extrapolated: [String]
    let verified: [VerifiedRecipe]?
    let storedBytes: Int?
    let bonusBits: [String: Int]
    let widths: [Width]

    private enum CodingKeys: CodingKey {
        case file, method, damage, averageBits, smallestBudget, largestBudget, threshold, predictedDamage,
            lowerBound
        case predictedPSNR, extrapolated, verified, storedBytes, bonusBits, widths
    }

    init(_ allocation: BitAllocation, table: SensitivityTable, file: String, limit: BudgetLimit) {
        switch limit {
        case .averageBits: unit = .bits
        case .storedBytes: unit = .bytes
        case .psnr: unit = .decibels
        }
        self.file = file
        method = allocation.recipe.method ?? ""
        damage = allocation.damage.rawValue
        averageBits = allocation.averageBits
        smallestBudget = allocation.attainable.lowerBound
        largestBudget = allocation.attainable.upperBound
        threshold = allocation.threshold
        predictedDamage = allocation.predictedDamage
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
        var weights: [LayerID: Int] = [:]
        for layer in table.inventory?.layers ?? [] { weights[layer.path] = layer.weights }
        for layer in table.layers { weights[layer.path] = layer.weights }
        widths = BitWidth.all.compactMap { width in
            let layers = allocation.recipe.layers.filter { $0.value == width }.keys
            guard !layers.isEmpty else { return nil }
            return Width(
                bits: width.rawValue, layers: layers.count,
                weights: layers.reduce(0) { $0 + (weights[$1] ?? 0) })
        }
    }

    func print() {
        var lines = TextTable(["bits", "levels", "layers", "weights"], alignments: [.right])
        for width in widths {
            lines.add([
                "\(width.bits)", "\(BitWidth(width.bits).levels)", "\(width.layers)",
                Numbers.grouped(width.weights),
            ])
        }
        lines.print()
        if let verified { print(verified) }
        Output.line(
            "\(file): \(Numbers.fixed(averageBits, 4)) average bits, \(method) by \(damage)"
                + (storedBytes.map { ", \(Numbers.bytes($0)) packed" } ?? "")
                + (predictedDamage.map { String(format: ", damage %.3e", $0) } ?? "")
                + (predictedPSNR.map { " (\(Numbers.fixed($0, 2)) dB)" } ?? "") + proof)
        let (low, high) = (budget(smallestBudget, .up), budget(largestBudget, .down))
        if smallestBudget < largestBudget, low != high {
            Output.line("budgets from \(low) to \(high) make a difference")
        } else {
            Output.line("no budget makes a difference: there is one efficient recipe")
        }
        if !extrapolated.isEmpty {
            Output.line(
                "\(extrapolated.count) layers are wider than any width that was measured for them; each bit more was "
                    + "taken for a quarter of the damage")
        }
    }

    /// What is known of better recipes; with a PSNR for a budget the bound is of the bits.
    private var proof: String {
        guard let lowerBound else { return "" }
        let reached = unit == .decibels ? averageBits : predictedDamage ?? lowerBound
        let gap = reached - lowerBound
        let what = unit == .decibels ? "the fewest bits" : "the least"
        return gap > 0
            ? String(format: ", within %.1e of %@", gap / abs(reached), what) : ", proven \(what)"
    }

    /// In bits, bytes or dB, rounded so that the budget is still one that makes a difference.
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
                "\(recipe.method) by \(recipe.damage)", Numbers.fixed(recipe.averageBits, 4),
                text(recipe.predictedDamage), text(recipe.measured.mse),
                recipe.measured.psnr.map { Numbers.fixed($0, 2) } ?? "–", text(recipe.measured.noise),
                recipe.isKept ? "kept" : "",
            ])
        }
        lines.print()
    }
}
