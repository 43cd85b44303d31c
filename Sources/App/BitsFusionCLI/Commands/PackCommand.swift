// SPDX-License-Identifier: Apache-2.0
// `bitsfusion pack`: a trained student as a packed file.

import ArgumentParser
import BitsFusion

struct PackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Pack a trained student.",
        discussion: """
            Every quantized layer becomes packed codes and one scale per output channel, and the time layers become \
            a table of the features that sampling needs. Images stay the same but for rounding.

            Example:

              bitsfusion pack stage2.h5 -o packed.h5
            """)

    @Argument(help: "A student file that `bitsfusion distill` wrote.")
    var student = "stage2.h5"

    @Option(name: .shortAndLong, help: "The packed file to write.")
    var output = "packed.h5"

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup(title: "Packing options") var packing: PackingArguments
    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let reader = try CheckpointReader(student)
        guard reader.format == .student else {
            throw CommandError(
                .badData,
                "\(student): expected a student, found \(reader.format.rawValue); "
                    + (reader.format == .packed
                        ? "it is packed already" : "use `bitsfusion quantize` for a dense model"))
        }
        try Output.checkCanCreate(output, keeping: [student])
        InterruptFlag.install()
        let pipeline = try naming(student) { try DiffusionPipeline(reader) }
        let options = try packing.options(for: pipeline, recipeSteps: nil)
        try packing.write(
            pipeline, to: output, manifest: Output.manifest(inputs: [student]), options: options,
            common: common, asJSON: json)
    }
}
