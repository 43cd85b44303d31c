// SPDX-License-Identifier: Apache-2.0
// `bitsfusion info`: what a model is made of, and what a recipe makes of it.

import ArgumentParser
import BitsFusion
import Foundation

struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info",
        abstract: "Show a model's architecture, layers, bits and bytes.",
        discussion: """
            Takes a model, student or packed file, a diffusers folder, or a bare config.json. With a recipe, shows \
            what it comes to on that architecture: average bits as in the paper (cached time features and 8-bit first \
            and last layer included, scales not), and the bytes of every part.

            Example:

              bitsfusion info Configs/unet-sd15.json --recipe Configs/recipes/sd15-bitsfusion-1.99.json
            """)

    @Argument(help: "A model, student or packed file, a diffusers folder, a config.json, or `shapes`.")
    var model: ModelReference

    @Option(help: "The bits of every layer (default: those of the file).")
    var recipe: String?

    @Option(
        parsing: .unconditional,
        help: "Inference steps whose time features are counted (default: as in the file or recipe, else 50).")
    var cachedSteps: Int?

    @Option(
        help: "The encoding that stored bytes are forecast for where no packed file tells: radix or fixed.")
    var encoding = PackingEncoding.radix

    @Flag(help: "Print everything as JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try validateCachedSteps(cachedSteps)
        try validateForecast(encoding)
    }

    func run() throws {
        common.apply()
        let subject = try ModelSubject(model)
        var bits = subject.recipe
        if let recipe {
            let given = try BitRecipe.named(recipe)
            try naming(recipe) { try given.validate(against: subject.inventory) }
            bits = given
        }
        let steps = cachedSteps ?? (recipe == nil ? subject.cachedSteps : nil) ?? bits?.cachedSteps
        let storage = TimeFeatureStorage(
            cachedSteps: steps ?? defaultCachedSteps, of: subject.inventory)
        let report = try ModelReport(subject, recipe: bits, storage: storage, encoding: encoding)
        if json { try Output.json(report) } else { report.print() }
    }
}
