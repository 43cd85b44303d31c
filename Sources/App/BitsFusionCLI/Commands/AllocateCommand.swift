// SPDX-License-Identifier: Apache-2.0
// `bitsfusion allocate`: chooses the bits of every layer for a budget.

import ArgumentParser
import BitsFusion
import Foundation

struct AllocateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "allocate",
        abstract: "Choose the bits of every layer for a budget.",
        usage: "bitsfusion allocate [<sensitivity>] [--avg-bits <avg-bits>] [options]",
        discussion: """
            Reads the table of `bitsfusion analyze`. Writes recipe.json with the bits of every layer and the name of \
            the model, for `bitsfusion distill` and `bitsfusion quantize`. Average bits are over all linear and \
            convolution weights; the 8-bit first and last layer and the cached time features count.

            Methods:

              optimal    the smallest total quantization error (the sum over layers)
                         within the budget, with a proof; each bit beyond the largest
                         measured bit width is assumed to divide the error by 4
              threshold  the paper's rule: each layer gets the fewest of 1, 2, 3 bits
                         with a sensitivity below one threshold, else 4
              entropy    as optimal, but --avg-bits counts the entropy of the codes, as
                         files with entropy coding do, and layers get dead zones: more
                         zeros, fewer bits. A smaller error at the same file size

            With threshold and optimal, a weight on a grid of b bits costs log2(2^b + 1) bits; the report has both \
            averages. Sizes are those of the packed file that `quantize` and `pack` write with the same encoding; with \
            entropy they are forecasts, because training changes the codes, and text encoders and VAE count as with \
            radix. A PSNR is a forecast: the squared errors of single layers are added.

            Examples:

              bitsfusion allocate --avg-bits 1.99
              bitsfusion allocate --avg-bits 1.6 --method entropy
              bitsfusion allocate --size 650kB --metric noise --pin 'attn2\\.to_[kv]$=4'
            """)

    @Argument(help: "Sensitivity table.")
    var sensitivity = "sensitivity.json"

    @OptionGroup(title: "Budget") var budget: BudgetOptions
    @OptionGroup(title: "Output options") var result: ResultOptions
    @OptionGroup(title: "Method options") var choice: MethodOptions
    @OptionGroup(title: "Verification on the model") var verification: VerificationOptions
    @OptionGroup(title: "Storage of the packed file") var storage: StorageOptions
    @OptionGroup var common: CommonOptions

    struct BudgetOptions: ParsableArguments {
        @Option(parsing: .unconditional, help: "Average bits per weight (default: 1.99).")
        var avgBits: Double?

        @Option(help: "Bytes of the packed file, such as 218MB (units: B, kB, MB, GB, KiB, MiB, GiB).")
        var size: ByteCount?

        @Option(help: "Minimum image PSNR in dB; picks the smallest model that reaches it.")
        var minPsnr: Double?

        func validate() throws {
            if [avgBits != nil, size != nil, minPsnr != nil].count(where: { $0 }) > 1 {
                throw ValidationError("--avg-bits, --size and --min-psnr exclude each other")
            }
        }

        var limit: BudgetLimit {
            if let size { return .storedBytes(size.bytes) }
            if let minPsnr { return .psnr(minPsnr) }
            return .averageBits(avgBits ?? 1.99)
        }
    }

    struct ResultOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: "Recipe to write.")
        var output = "recipe.json"

        @Option(help: "Format of the recipe: json, list (path: bits) or apple (mixed-bit palettization).")
        var format = RecipeFormat.json

        @Option(help: "Also plot error against size for all budgets: JSON in this file, an image in .svg next to it.")
        var curve: String?

        @Flag(help: "Print the result as JSON.")
        var json = false

        var curveImage: String? { curve.map { PathParts($0).sibling(PathParts($0).stem + ".svg") } }

        func validate() throws {
            guard let curve, let curveImage else { return }
            let names = [curve, curveImage, output].map { URL(fileURLWithPath: $0).standardizedFileURL.path }
            if Set(names).count < names.count {
                throw ValidationError(
                    "--curve: \(curve), its image \(curveImage) and the recipe \(output) must be different files; "
                        + "give a .json name")
            }
        }
    }

    struct MethodOptions: ParsableArguments {
        @Option(help: "Method: optimal, threshold or entropy.")
        var method = AllocationMethod.optimal

        @Option(
            help: """
                Metric of the quantization error: mse, noise, fisher or mse+clip (default: the first of noise, mse and \
                fisher that the table has for all layers).
                """)
        var metric: AllocationMetric?

        @Option(help: "Most bits to choose, 1 to 8.")
        var maxBits = 8

        @Option(
            help: """
                Give layers whose path matches <regex> these bits and no dead zone: <regex>=<bits>. The last match \
                counts.
                """)
        var pin: [LayerPin] = []

        @Option(
            parsing: .unconditional, help: "threshold: exponent of the layer size in the sensitivity (default: 0.3).")
        var eta: Double?

        @Flag(
            inversion: .prefixedNo,
            help: "threshold: up to 3 more bits for the layers with the largest CLIP-score drops (default: yes).")
        var clipBonus: Bool?

        func validate() throws {
            if BitWidth(rawValue: maxBits) == nil {
                throw ValidationError("--max-bits: expected 1 to 8, found \(maxBits)")
            }
        }
    }

    struct VerificationOptions: ParsableArguments {
        @Option(
            help: """
                Quantize the whole model by up to this many recipes (of all metrics of the table, and of both optimal \
                and threshold) and keep the one with the smallest measured error, or with --min-psnr the smallest that \
                reaches it.
                """)
        var verifyTop: Int?

        @Option(help: "Model for --verify-top (default: the one that the table names).")
        var model: ModelReference?

        func validate() throws {
            if let verifyTop, !(1...100).contains(verifyTop) {
                throw ValidationError("--verify-top: expected 1 to 100, found \(verifyTop)")
            }
            if model != nil && verifyTop == nil {
                throw ValidationError("--model: has no effect without --verify-top; add it")
            }
        }
    }

    struct StorageOptions: ParsableArguments {
        @Option(
            parsing: .unconditional, help: "Inference steps whose time features are cached; 0 keeps the time layers.")
        var cachedSteps = defaultCachedSteps

        @Option(
            help: """
                Encoding for forecasts of stored bytes: radix or fixed (default: radix). Files with entropy are \
                smaller; --method entropy forecasts these.
                """)
        var encoding: ForecastEncoding?

        @Flag(help: "Forecast stored bytes without the encoder of the VAE, as `quantize --no-vae-encoder` writes it.")
        var noVaeEncoder = false

        func validate() throws {
            try validateCachedSteps(cachedSteps)
        }
    }

    func validate() throws {
        let verifiesThreshold = verification.verifyTop != nil && choice.method != .entropy
        let usesThreshold = choice.method == .threshold || result.curve != nil || verifiesThreshold
        if !usesThreshold, choice.eta != nil || choice.clipBonus != nil {
            throw ValidationError("--eta, --clip-bonus: require --method threshold; add it")
        }
        if choice.method == .entropy, storage.encoding != nil {
            throw ValidationError("--encoding: not used by --method entropy; remove it")
        }
        if choice.method == .entropy, result.format != .json {
            throw ValidationError("--format: --method entropy requires json, which has dead zones; remove --format")
        }
    }

    func run() throws {
        common.apply()
        // Without measurements nothing checks the flag, and signals end the run at once.
        if verification.verifyTop != nil { InterruptFlag.install() }
        var table = try SensitivityTable.load(contentsOf: URL(fileURLWithPath: sensitivity))
        try checkIsComplete(table)
        if storage.noVaeEncoder {
            let inventory = table.inventory?.withoutVAEEncoder
            guard inventory != table.inventory else {
                throw CommandError(.usage, "\(sensitivity): --no-vae-encoder: the model has no VAE encoder; remove it")
            }
            table.inventory = inventory
        }
        try Output.checkCanCreate(
            [result.output, result.curve, result.curveImage].compactMap { $0 }, keeping: [sensitivity])
        let timeFeatures =
            table.inventory.map { TimeFeatureStorage(cachedSteps: storage.cachedSteps, of: $0) }
            ?? (storage.cachedSteps == 0 ? .layersKept : .cached(steps: storage.cachedSteps))
        let bitBudget = BitBudget(budget.limit, timeFeatures: timeFeatures)
        var allocation = try addingFile(sensitivity) {
            try allocateBits(table, budget: bitBudget, method: choice.method, options: options(choice.metric))
        }
        if let verifyTop = verification.verifyTop {
            allocation = try RecipeVerification(
                table: table, sensitivity: sensitivity, model: verification.model, common: common
            ).best(
                of: candidates(table, bitBudget, first: allocation, count: verifyTop), by: allocation.metric,
                minimumPSNR: budget.minPsnr)
        }
        allocation.recipe.manifest = try Output.manifest(inputs: [sensitivity])
        try writeCurve(table, timeFeatures)
        try allocation.recipe.write(to: URL(fileURLWithPath: result.output), as: result.format)
        warn(of: allocation, table)
        let report = AllocationReport(allocation, table: table, file: result.output, limit: budget.limit)
        guard !result.json else { return try Output.json(report) }
        report.print()
        if let curve = result.curve, let image = result.curveImage {
            Output.line("\(curve), \(image): error against size for all budgets")
        }
        Output.line(
            "next: bitsfusion distill --stage 1 --recipe \(result.output), or bitsfusion quantize without training")
    }

    /// Refuses the table of a shard, which lacks layers.
    private func checkIsComplete(_ table: SensitivityTable) throws {
        let missing = table.unlistedLayers
        guard let first = missing.first, let layers = table.inventory?.quantizedLayers.count else { return }
        throw CommandError(
            .badData,
            "\(sensitivity): layers: a shard of an analysis: expected \(layers) layers, found "
                + "\(layers - missing.count), without \(first); merge all shards with `bitsfusion merge`, and allocate "
                + "for its table")
    }

    private func warn(of allocation: BitAllocation, _ table: SensitivityTable) {
        if !allocation.countsWholeModel {
            Output.warning(
                "\(sensitivity): inventory: missing; the listed layers count as the whole model, without time "
                    + "features and bytes")
        }
        if budget.size != nil, table.inventory != nil, table.inventory?.container == nil {
            Output.warning(
                "\(sensitivity): inventory.container: missing; --size does not count the overhead of the file; analyze "
                    + "again")
        }
        if case .skipped(let layers) = allocation.bonus {
            Output.warning(
                "\(sensitivity): \(layers) layers have no CLIP-score drop at 3 bits; no bonus bits were given")
        }
    }

    private func options(_ metric: AllocationMetric?) -> AllocationOptions {
        AllocationOptions(
            eta: choice.eta ?? 0.3, metric: metric, givesClipBonus: choice.clipBonus ?? true, pins: choice.pin,
            maximumBits: BitWidth(choice.maxBits), storage: .packed((storage.encoding ?? .radix).packing))
    }

    /// The requested recipe, then those of both methods by every metric of the table, without duplicates.
    private func candidates(
        _ table: SensitivityTable, _ budget: BitBudget, first: BitAllocation, count: Int
    ) -> [BitAllocation] {
        var found = [first]
        for metric in [first.metric] + AllocationMetric.allCases {
            // Average bits are counted in another way for `entropy`.
            for method in choice.method == .entropy ? [.entropy] : [AllocationMethod.optimal, .threshold] {
                // A method that fails, because of a missing metric or the budget, is skipped.
                guard
                    let next = try? allocateBits(
                        table, budget: budget, method: method, options: options(metric)),
                    !found.contains(where: {
                        $0.recipe.layers == next.recipe.layers && $0.recipe.deadZones == next.recipe.deadZones
                    })
                else { continue }
                found.append(next)
            }
        }
        return Array(found.prefix(count))
    }

    private func writeCurve(_ table: SensitivityTable, _ timeFeatures: TimeFeatureStorage) throws {
        guard let path = result.curve, let image = result.curveImage else { return }
        let curve = try addingFile(sensitivity) {
            try allocationCurve(table, timeFeatures: timeFeatures, options: options(choice.metric))
        }
        try AtomicFile.write(JSONEncoder.document.encode(curve), to: path)
        try AtomicFile.write(CurveDrawing(curve).svg, to: image)
    }
}
