// SPDX-License-Identifier: Apache-2.0
// `bitsfusion info`: architecture and size of a model, optionally quantized by a recipe.

import ArgumentParser
import BitsFusion
import Foundation

struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info",
        abstract: "Show a model's architecture, layers, bits and bytes.",
        usage: "bitsfusion info <model> [--recipe <recipe>] [options]",
        discussion: """
            Reads a model, student or packed file, a diffusers folder, a config.json, the file of a CLIP model, or a \
            training set of `bitsfusion dataset`. \
            Prints architecture, layers and parts; for quantized models, or with --recipe, also the \
            paper's average bits (with cached time features and the 8-bit first and last layer, \
            without scales) and the bytes of every part.

            Examples:

              bitsfusion info packed.h5
              bitsfusion info Configs/unet-sd15.json \\
                --recipe Configs/recipes/sd15-bitsfusion-1.99.json
            """)

    @Argument(help: "Model, student, packed or CLIP file, training set, diffusers folder, config.json, or `shapes`.")
    var model: ModelReference

    @Option(help: "Recipe with the bits of every layer (default: those of the file).")
    var recipe: String?

    @Option(
        parsing: .unconditional,
        help: "Inference steps whose time features are cached (default: as in the file or recipe, else 50).")
    var cachedSteps: Int?

    @Option(help: "Encoding for forecasts of stored bytes: radix or fixed (default: radix).")
    var encoding: ForecastEncoding?

    @Flag(help: "Forecast the size without the encoder of the VAE, as `quantize --no-vae-encoder` writes it.")
    var noVaeEncoder = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try validateCachedSteps(cachedSteps)
    }

    func run() throws {
        common.apply()
        if try BundledWorld.model(model.name) == nil, try LatentSetReader.isLatentSet(model.name) {
            return try showLatentSet()
        }
        let description: ModelDescription
        do {
            description = try ModelDescription(model, keepsVAEEncoder: !noVaeEncoder)
        } catch CheckpointError.imageTextEncoder {
            return try showCLIPModel()
        }
        let hasVAE = description.otherComponents.contains { $0.name == "vae" }
        guard !noVaeEncoder || hasVAE && description.cachedSteps == nil else {
            throw CommandError(
                .usage, "--no-vae-encoder: for forecasts of models with a VAE that are not packed; remove it")
        }
        guard encoding == nil || recipe != nil || description.stored.isEmpty else {
            throw CommandError(
                .usage, "\(model.name): --encoding: for forecasts, but the file is packed already; remove it")
        }
        var bits = description.recipe
        if let recipe {
            let recipeBits = try BitRecipe.named(recipe)
            try addingFile(recipe) { try recipeBits.validate(against: description.inventory) }
            bits = recipeBits
        }
        let steps = cachedSteps ?? (recipe == nil ? description.cachedSteps : nil) ?? bits?.cachedSteps
        let storage = TimeFeatureStorage(
            cachedSteps: steps ?? defaultCachedSteps, of: description.inventory)
        let report = try ModelReport(
            description, recipe: bits, storage: storage, encoding: (encoding ?? .radix).packing)
        if json { try Output.json(report) } else { report.print() }
    }

    private func showLatentSet() throws {
        try refuseModelOptions("training sets")
        let report = try LatentSetReport(model.name)
        if json { try Output.json(report) } else { report.print() }
    }

    /// Refuses options for models with weights to quantize.
    private func refuseModelOptions(_ kind: String) throws {
        for (option, isGiven) in [("recipe", recipe != nil), ("cached-steps", cachedSteps != nil)] where isGiven {
            throw CommandError(.usage, "\(model.name): --\(option): not for \(kind); remove it")
        }
    }

    private func showCLIPModel() throws {
        try refuseModelOptions("image-text encoders")
        let report = try CLIPReport(model)
        if json { try Output.json(report) } else { report.print() }
    }
}
