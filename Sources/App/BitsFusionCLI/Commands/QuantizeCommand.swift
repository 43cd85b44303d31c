// SPDX-License-Identifier: Apache-2.0
// `bitsfusion quantize`: post-training quantization, without any training.

import ArgumentParser
import BitsFusion
import Foundation

struct QuantizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Quantize a model by a recipe and pack it, without training.",
        discussion: """
            Every layer gets a balanced grid of the recipe's width, with one scale per output channel that \
            alternating optimisation fits to the weights. Near two bits this alone costs much of \
            the quality: `bitsfusion distill` trains, and gets it back.

            Example:

              bitsfusion quantize model.h5 --recipe recipe.json -o packed.h5
            """)

    @Argument(help: "A dense model file, or `shapes` for the shipped teacher.")
    var model: ModelReference

    @Option(help: "The bits of every layer.")
    var recipe = "recipe.json"

    @Option(name: .shortAndLong, help: "The packed file to write.")
    var output = "packed.h5"

    @Option(name: .customLong("init"), help: "How scales are found.")
    var scaleStart = ScaleStart.alternating

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup(title: "Packing options") var packing: PackingArguments
    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let bits = try BitRecipe.named(recipe)
        let reader = try CheckpointReader(model.path())
        guard reader.format == .model else {
            throw CommandError(
                .badData,
                "\(model.name): its layers are quantized already (\(reader.format.rawValue)); give a dense model, or "
                    + "use `bitsfusion pack` for a student")
        }
        try validate(bits, for: reader)
        try Output.checkCanCreate(output, keeping: [model.path(), BitRecipe.file(of: recipe)])
        let manifest = try Output.manifest(models: [model], inputs: [BitRecipe.file(of: recipe)])
        if let made = bits.model, made.sha256 != manifest.inputs.first?.sha256 {
            Output.warning("\(recipe): was made for \(made.path), which is not this \(model.name)")
        }
        InterruptFlag.install()
        let pipeline = try naming(model.name) { try DiffusionPipeline(reader) }
        let options = try packing.options(for: pipeline, recipeSteps: bits.cachedSteps)
        let progress = common.progress("fitting scales", total: bits.layers.count, unit: "layers")
        try pipeline.denoiser.quantize(recipe: bits, initialization: scaleStart.initialization) { done, _ in
            progress.update(done)
            try InterruptFlag.check()
        }
        progress.endLine()
        try packing.write(
            pipeline, to: output, manifest: manifest, options: options, common: common, asJSON: json)
    }

    /// Checks the recipe's layers before the model's weights are read.
    private func validate(_ bits: BitRecipe, for reader: CheckpointReader) throws {
        let config = try DenoiserRegistry.config(of: reader, named: model.name)
        try naming(recipe) { try bits.validate(against: config.inventory()) }
    }
}
