// SPDX-License-Identifier: Apache-2.0
// How packed models are written: the options that `quantize` and `pack` share, and what both print.

import ArgumentParser
import BitsFusion
import Foundation

struct PackingArguments: ParsableArguments {
    @Option(
        help:
            "How codes become bytes: entropy gives frequent codes fewer bits, radix joins several codes into one number, fixed gives each its own bits."
    )
    var encoding = PackingEncoding.entropy

    @Option(help: "Type of the scales: float32, or float16 for half the bytes.")
    var scales = ElementType.float32

    @Option(
        parsing: .unconditional,
        help: """
            Inference steps whose time features are cached in place of the time layers; 0 keeps the layers \
            (default: as in the recipe, else 50).
            """)
    var cachedSteps: Int?

    @Option(help: "The sampler whose timesteps are cached; ddim and pndm visit the same ones.")
    var sampler = SamplerKind.pndm

    func validate() throws {
        try validateCachedSteps(cachedSteps)
        guard scales != .bfloat16 else {
            throw ValidationError("--scales: expected float32 or float16, found bfloat16")
        }
    }

    /// The options for one model.
    ///
    /// - Parameters:
    ///   - pipeline: the model.
    ///   - recipeSteps: the steps that its recipe counts.
    /// - Returns: what `writePacked` takes.
    /// - Throws: `SamplerError`, `ConfigError`.
    func options(for pipeline: DiffusionPipeline, recipeSteps: Int?) throws -> PackingOptions {
        var options = PackingOptions(encoding: encoding, scaleType: scales, cachedTimesteps: nil)
        let steps = cachedSteps ?? recipeSteps ?? defaultCachedSteps
        if let addition = pipeline.denoiser.config.addedConditionsType {
            Output.warning(
                "with addition_embed_type \(addition) time features depend on more than the timestep; "
                    + "the time layers are kept")
        } else if steps > 0, !pipeline.denoiser.timeFeatureChannels.isEmpty {
            options.cachedTimesteps = try pipeline.samplerTimesteps([sampler], steps: steps)
        }
        return options
    }

    /// Packs a quantized model, and prints what it takes.
    ///
    /// - Throws: as `writePacked`, and `Interrupted`.
    func write(
        _ pipeline: DiffusionPipeline, to path: String, manifest: RunManifest, options: PackingOptions,
        common: CommonOptions, asJSON: Bool
    ) throws {
        let layers = pipeline.denoiser.quantizedLayers.count
        let progress = common.progress("packing", total: layers, unit: "layers")
        try pipeline.writePacked(to: path, manifest: manifest, options: options) { done, _ in
            progress.update(done)
            try InterruptFlag.check()
        }
        progress.endLine()
        let inventory = try pipeline.denoiser.inventory()
        let storage = TimeFeatureStorage(cachedSteps: options.cachedTimesteps?.count ?? 0, of: inventory)
        guard let recipe = pipeline.recipe else { return }
        let size = try SizeAccounting(
            recipe: recipe, inventory: inventory, timeFeatures: storage,
            bitsPerScale: 8 * options.scaleType.bytesPerElement)
        let report = PackedReport(
            file: path, averageBits: size.averageBits, storedBytes: Numbers.fileSize(path),
            layers: recipe.layers.count, cachedTimesteps: options.cachedTimesteps)
        try report.print(asJSON: asJSON)
    }
}

/// What a packed model came to.
private struct PackedReport: Encodable {
    let file: String
    let averageBits: Double
    let storedBytes: Int
    let layers: Int
    let cachedTimesteps: [Int]?

    func print(asJSON: Bool) throws {
        if asJSON { return try Output.json(self) }
        Output.line(
            "\(file): \(layers) packed layers, \(Numbers.fixed(averageBits, 4)) average bits, "
                + Numbers.bytes(storedBytes))
    }
}
