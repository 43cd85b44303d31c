// SPDX-License-Identifier: Apache-2.0
// `bitsfusion verify`: whether a packed file is the student that it was packed from.

import ArgumentParser
import BitsFusion

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare a packed file with the student that it was packed from.",
        discussion: """
            Compares every code, every scale (also with scales that were packed at 16 bits), every other parameter and the \
            cached time features, and lets both models predict noise from the same random inputs, the packed one with its \
            inputs rounded to int8 and in Float32. Exit status 65 where something differs that should be equal.

            Example:

              bitsfusion verify stage2.h5 packed.h5
            """)

    @Argument(help: "The student, or another packed file.")
    var original: ModelReference

    @Argument(help: "The packed file.")
    var packed: ModelReference

    @Option(parsing: .unconditional, help: "Seed of the inputs that both predict from.")
    var seed: UInt64 = 0

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let reader = try CheckpointReader(packed.path())
        guard reader.format == .packed else {
            throw CommandError(
                .badData,
                "\(packed.name): expected a packed file, found \(reader.format.rawValue); give the student first and "
                    + "the packed file second")
        }
        let model = try naming(packed.name) { try DiffusionPipeline(reader) }
        guard model.isPacked else {
            throw CommandError(.badData, "\(packed.name): holds no packed layers; pack the student again")
        }
        let student = try original.open()
        guard student.recipe != nil else {
            throw CommandError(
                .badData,
                "\(original.name): has no quantized layers; give the student that \(packed.name) was packed from"
            )
        }
        for pipeline in [student, model] { pipeline.freeze() }
        let result = try naming(original.name) {
            try PackedVerification(model, isPackedFrom: student, seed: seed)
        }
        if json { try Output.json(result) } else { print(result) }
        guard let first = result.differences.first else { return }
        throw CommandError(
            .badData,
            "\(packed.name): \(result.differences.count) differences from \(original.name), the first: \(first.place): "
                + "\(first.what); pack the student again, and train it anew where its own predictions are not finite"
        )
    }

    private func print(_ result: PackedVerification) {
        for difference in result.differences { Output.line("\(difference.place): \(difference.what)") }
        Output.line(
            "compared: \(result.layers) layers, \(Numbers.grouped(result.codes)) codes, \(Numbers.grouped(result.scales)) "
                + "scales\(result.hasRoundedScales ? " (at 16 bits)" : ""), \(Numbers.grouped(result.otherValues)) other "
                + "values, \(Numbers.grouped(result.timeFeatures)) time features (at 16 bits)")
        for output in result.outputs {
            Output.line(
                "noise predictions, activations in \(output.activations): root mean square difference "
                    + "\(Numbers.fixed(100 * output.relativeRootMeanSquare, 4)) % of the prediction's, largest "
                    + "\(Numbers.fixed(100 * output.relativeMaximum, 4)) % of its largest value")
        }
        if result.outputs.isEmpty { Output.line("noise predictions were not compared") }
        if result.isEqual { Output.line("equal") }
    }
}
