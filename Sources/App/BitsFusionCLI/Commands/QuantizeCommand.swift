// SPDX-License-Identifier: Apache-2.0
// `bitsfusion quantize`: post-training quantization.

import ArgumentParser
import BitsFusion
import Foundation

struct QuantizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Quantize a model by a recipe without training.",
        usage: "bitsfusion quantize <model> [--recipe <recipe>] [--output <output>] [options]",
        discussion: """
            Reads a dense model and a recipe. Writes a packed file: every layer gets a balanced \
            grid with the recipe's bits and one scale per output channel, fitted to the weights \
            (--init). At about 2 bits quality drops; `bitsfusion distill` \
            recovers it.

            Examples:

              bitsfusion quantize model.h5 --recipe recipe.json -o packed.h5
              bitsfusion quantize shapes --encoding radix --cached-steps 25 -o packed.h5
            """)

    @Argument(help: "Dense model file, or `shapes` for the shipped teacher.")
    var model: ModelReference

    @OptionGroup(title: "Quantization options") var quantization: QuantizationOptions
    @OptionGroup(title: "Output options") var result: PackedOutputOptions
    @OptionGroup(title: "Packing options") var packing: PackingArguments
    @OptionGroup var common: CommonOptions

    struct QuantizationOptions: ParsableArguments {
        @Option(help: "Recipe with the bits of every layer.")
        var recipe = "recipe.json"

        @Option(name: .customLong("init"), help: "Initialization of the scales.")
        var initialization = ScaleInitialization.paper
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let recipe = quantization.recipe
        let bits = try BitRecipe.named(recipe)
        let reader = try CheckpointReader(model.path())
        guard reader.format == .model else {
            throw CommandError(
                .badData,
                "\(model.name): already quantized: expected a dense model, found \(reader.format.rawValue); use "
                    + "`bitsfusion pack` for a student")
        }
        try validate(bits, for: reader)
        try Output.checkCanCreate(result.output, keeping: [model.path(), BitRecipe.file(of: recipe)])
        let manifest = try Output.manifest(models: [model], inputs: [BitRecipe.file(of: recipe)])
        if let made = bits.model, made.sha256 != manifest.inputs.first?.sha256 {
            Output.warning("\(recipe): model: the recipe was made for \(made.path), which differs from \(model.name)")
        }
        let pipeline = try addingFile(model.name) { try DiffusionPipeline(reader, precision: .keep16Bit) }
        let options = try addingFile(model.name) { try packing.options(for: pipeline, recipeSteps: bits.cachedSteps) }
        // Each layer is quantized when it is packed, so that memory never holds a second copy of the model.
        try packing.write(
            pipeline, packing.quantization(bits, quantization.initialization, of: pipeline.layerInventory()),
            to: result.output, manifest: manifest, options: options, common: common, asJSON: result.json)
    }

    /// Checks the recipe's layers before the model's weights are read.
    private func validate(_ bits: BitRecipe, for reader: CheckpointReader) throws {
        let inventory = try addingFile(model.name) { try ModelInventory(layersOf: reader) }
        try addingFile(quantization.recipe) { try bits.validate(against: inventory) }
    }
}
