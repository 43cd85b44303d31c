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

            optimal, the default, makes the sum of the layers' sensitivities as small as the budget allows, and proves it; widths \
            above the measured ones count a quarter of the sensitivity for each bit more. threshold is the paper's rule: each \
            layer gets the narrowest of 1, 2, 3 bits whose score is below one threshold, else 4. Docs/Method.md compares \
            them.

            The size is that of the packed file, to the byte, as `quantize` and `pack` write it with the same encoding. A PSNR is a forecast: squared errors of single layers are added up.

            Examples:

              bitsfusion allocate sensitivity.json --avg-bits 1.99 -o recipe.json
              bitsfusion allocate --method optimal --metric noise --size 650kB --pin 'attn2\\.to_[kv]$=4'
              bitsfusion allocate --curve curve.json
              bitsfusion allocate --verify-top 5
            """)

    @Argument(help: "The table that `bitsfusion analyze` wrote.")
    var sensitivity = "sensitivity.json"

    @Option(parsing: .unconditional, help: "The average bits of a weight (default: 1.99).")
    var avgBits: Double?

    @Option(
        help:
            "In place of average bits: the bytes of the packed file, such as 218MB (B, kB, MB, GB, KiB, MiB, GiB)."
    )
    var size: ByteCount?

    @Option(help: "In place of a size: the PSNR of images, in dB, that the smallest model shall keep.")
    var minPsnr: Double?

    @Option(
        help: "How widths are chosen: optimal (the least sum of sensitivities) or threshold (the paper's rule).")
    var method = AllocationMethod.optimal

    @Option(help: "Give layers whose path matches <regex> this width: <regex>=<bits>; the last match counts.")
    var pin: [LayerPin] = []

    @Option(help: "The widest width to choose, 1 to 8.")
    var maxBits = 8

    @Option(
        help:
            "Also write sensitivity over size for all budgets, by both methods, here and as an image beside it (.svg)."
    )
    var curve: String?

    @Option(
        help: """
            Quantize the whole model by up to this many recipes, of both methods and every metric that the table has, \
            measure what they do together, and keep the best: by noise error where --metric is noise or fisher, else by \
            MSE; with --min-psnr the smallest that keeps it.
            """)
    var verifyTop: Int?

    @Option(help: "For --verify-top: the model (default: the one that the table names).")
    var model: ModelReference?

    @Option(
        help:
            "The metric that layers are compared by (default: the first of noise, mse and fisher that the table has for all layers)."
    )
    var metric: AllocationMetric?

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

    @Option(
        help:
            "The encoding that stored bytes are forecast for: radix or fixed; with entropy, files come out smaller."
    )
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
        try validateForecast(encoding)
        let usesThreshold = method == .threshold || curve != nil || verifyTop != nil
        if !usesThreshold, eta != nil || clipBonus != nil {
            throw ValidationError("--eta and --clip-bonus are for --method threshold")
        }
        if let curve {
            let image = Self.imagePath(curve)
            let names = [curve, image, output].map { URL(fileURLWithPath: $0).standardizedFileURL.path }
            if Set(names).count < names.count {
                throw ValidationError(
                    "--curve: \(curve) and the image \(image) beside it need names of their own; give a .json name"
                )
            }
        }
        if model != nil && verifyTop == nil { throw ValidationError("--model is for --verify-top") }
    }

    func run() throws {
        common.apply()
        let table = try SensitivityTable.load(contentsOf: URL(fileURLWithPath: sensitivity))
        for path in [output, curve, curve.map(Self.imagePath)].compactMap({ $0 }) {
            try Output.checkCanCreate(path, keeping: [sensitivity])
        }
        let storage =
            table.inventory.map { TimeFeatureStorage(cachedSteps: cachedSteps, of: $0) }
            ?? (cachedSteps == 0 ? .layersKept : .cached(steps: cachedSteps))
        let budget = BitBudget(limit, timeFeatures: storage)
        var allocation = try allocateBits(table, budget: budget, method: method, options: options(metric))
        if let verifyTop {
            allocation = try RecipeVerification(
                table: table, sensitivity: sensitivity, model: model, common: common
            ).best(
                of: candidates(table, budget, first: allocation, count: verifyTop), by: allocation.metric,
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
        if size != nil, table.inventory != nil, table.inventory?.container == nil {
            Output.warning(
                "\(sensitivity): does not say what a packed file adds to its payload; --size counted the payload alone "
                    + "(analyze again)")
        }
        if case .skipped(let layers) = allocation.bonus {
            Output.warning(
                "\(sensitivity): \(layers) layers have no CLIP-score drop at 3 bits; no bonus bits given")
        }
        let report = AllocationReport(
            allocation, table: table, file: output, limit: limit)
        guard !json else { return try Output.json(report) }
        report.print()
        if let curve { Output.line("\(curve) and \(Self.imagePath(curve)): every budget") }
        Output.line("next: bitsfusion distill --stage 1 --recipe \(output), or quantize without training")
    }

    private var limit: BudgetLimit {
        if let size { return .storedBytes(size.bytes) }
        if let minPsnr { return .psnr(minPsnr) }
        return .averageBits(avgBits ?? 1.99)
    }

    private func options(_ metric: AllocationMetric?) -> AllocationOptions {
        AllocationOptions(
            eta: eta ?? 0.3, metric: metric, givesClipBonus: clipBonus ?? true, pins: pin,
            maximumBits: BitWidth(maxBits), storage: .packed(encoding))
    }

    /// The recipe that was asked for, then those of both methods by every metric of the table; none twice.
    private func candidates(
        _ table: SensitivityTable, _ budget: BitBudget, first: BitAllocation, count: Int
    ) -> [BitAllocation] {
        var found = [first]
        for metric in [first.metric] + AllocationMetric.allCases {
            for method in [AllocationMethod.optimal, .threshold] {
                // A metric that the table lacks, or a budget that one method cannot meet, leaves the others.
                guard
                    let next = try? allocateBits(
                        table, budget: budget, method: method, options: options(metric)),
                    !found.contains(where: { $0.recipe.layers == next.recipe.layers })
                else { continue }
                found.append(next)
            }
        }
        return Array(found.prefix(count))
    }

    private static func imagePath(_ curve: String) -> String {
        PathParts(curve).sibling(PathParts(curve).stem + ".svg")
    }

    private func draw(_ table: SensitivityTable, _ storage: TimeFeatureStorage, to path: String) throws {
        let curve = try allocationCurve(table, timeFeatures: storage, options: options(metric))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try AtomicFile.write(encoder.encode(curve), to: path)
        try AtomicFile.write(CurveDrawing(curve).svg, to: Self.imagePath(path))
    }
}
