// SPDX-License-Identifier: Apache-2.0
// `bitsfusion pack`: packs a trained student.

import ArgumentParser
import BitsFusion

struct PackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Pack a trained student.",
        usage: "bitsfusion pack [<student>] [--output <output>] [options]",
        discussion: """
            Reads a student of `bitsfusion distill`. Writes a packed file: codes and one scale \
            per output channel for every quantized layer, and the cached time features of the \
            sampling steps instead of the time layers. Output is unchanged up to rounding.

            Examples:

              bitsfusion pack stage2.h5 -o packed.h5
              bitsfusion pack stage2.h5 --cached-steps 25 --sampler dpm++ -o packed.h5
            """)

    @Argument(help: "Student file.")
    var student = "stage2.h5"

    @OptionGroup(title: "Output options") var result: PackedOutputOptions
    @OptionGroup(title: "Packing options") var packing: PackingArguments
    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let reader = try CheckpointReader(student)
        guard reader.format == .student else {
            throw CommandError(
                .badData,
                "\(student): expected a student, found \(reader.format.rawValue); "
                    + (reader.format == .packed
                        ? "packed files cannot be packed again" : "use `bitsfusion quantize` for a dense model"))
        }
        try Output.checkCanCreate(result.output, keeping: [student])
        let pipeline = try addingFile(student) { try DiffusionPipeline(reader) }
        let options = try addingFile(student) { try packing.options(for: pipeline, recipeSteps: nil) }
        guard let recipe = pipeline.recipe else { throw PipelineError.notQuantized }
        try packing.write(
            pipeline, packing.quantization(recipe, .paper, of: pipeline.layerInventory()), to: result.output,
            manifest: Output.manifest(inputs: [student]), options: options, common: common, asJSON: result.json)
    }
}
