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

            Example:

              bitsfusion allocate sensitivity.json --avg-bits 1.99 -o recipe.json
            """)

    @Argument(help: "The table that `bitsfusion analyze` wrote.")
    var sensitivity = "sensitivity.json"

    @Option(parsing: .unconditional, help: "The average bits of a weight.")
    var avgBits = 1.99

    @Option(help: "How widths are chosen: threshold is the paper's rule.")
    var method = AllocationMethod.threshold

    @Option(
        help:
            "The damage that layers are compared by (default: the first of these that the table has for all layers)."
    )
    var damage: DamageMeasure?

    @Option(parsing: .unconditional, help: "Exponent of the layer size in the sensitivity score.")
    var eta = 0.3

    @Option(
        parsing: .unconditional,
        help: "Inference steps whose time features are cached; 0 keeps the time layers.")
    var cachedSteps = defaultCachedSteps

    @Flag(
        inversion: .prefixedNo,
        help: "Give the layers with the largest CLIP-score drops up to three more bits.")
    var clipBonus = true

    @Option(help: "The encoding that stored bytes are forecast for.")
    var encoding = PackingEncoding.radix

    @Option(name: .shortAndLong, help: "The recipe to write.")
    var output = "recipe.json"

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try validateCachedSteps(cachedSteps)
    }

    func run() throws {
        let table = try SensitivityTable.load(contentsOf: URL(fileURLWithPath: sensitivity))
        try Output.checkCanCreate(output, keeping: [sensitivity])
        let storage =
            table.inventory.map { TimeFeatureStorage(cachedSteps: cachedSteps, of: $0) }
            ?? (cachedSteps == 0 ? .layersKept : .cached(steps: cachedSteps))
        let encoding = encoding
        let allocation = try allocateBits(
            table, budget: BitBudget(averageBits: avgBits, timeFeatures: storage), method: method,
            options: AllocationOptions(
                eta: eta, damage: damage, givesClipBonus: clipBonus, storage: .packed(encoding)))
        var recipe = allocation.recipe
        recipe.manifest = try Output.manifest(inputs: [sensitivity])
        try recipe.write(to: URL(fileURLWithPath: output))
        if !allocation.countsWholeModel {
            Output.warning("\(sensitivity): has no inventory; its layers were taken for the whole model")
        }
        if case .skipped(let layers) = allocation.bonus {
            Output.warning(
                "\(sensitivity): \(layers) layers have no CLIP-score drop at 3 bits; no bonus bits given")
        }
        let report = AllocationReport(allocation, table: table, file: output)
        if json { try Output.json(report) } else { report.print() }
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
    let storedBytes: Int?
    let bonusBits: [String: Int]
    let widths: [Width]

    init(_ allocation: BitAllocation, table: SensitivityTable, file: String) {
        self.file = file
        method = allocation.recipe.method ?? ""
        damage = allocation.damage.rawValue
        averageBits = allocation.averageBits
        smallestBudget = allocation.attainable.lowerBound
        largestBudget = allocation.attainable.upperBound
        threshold = allocation.threshold.isFinite ? allocation.threshold : nil
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
        Output.line(
            "\(file): \(Numbers.fixed(averageBits, 4)) average bits by \(damage)"
                + (storedBytes.map { ", \(Numbers.bytes($0)) packed" } ?? "")
                + "; budgets from \(Numbers.fixed((smallestBudget * 1e4).rounded(.up) / 1e4, 4)) to "
                + "\(Numbers.fixed(largestBudget, 4)) make a difference")
    }
}
