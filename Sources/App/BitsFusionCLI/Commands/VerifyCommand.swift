// SPDX-License-Identifier: Apache-2.0
// `bitsfusion verify`: compares a packed file with the student that it was made from.

import ArgumentParser
import BitsFusion

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare a packed file with its student.",
        usage: "bitsfusion verify <original> <packed> [--json] [options]",
        discussion: """
            Reads a student and the packed file made from it. Compares all codes, scales (also \
            scales packed as float16), other parameters and cached time features, and the noise \
            predictions of both for random inputs, with int8 and float32 activations. Exit status \
            65 if they differ.

            Examples:

              bitsfusion verify stage2.h5 packed.h5
              bitsfusion verify stage2.h5 packed.h5 --seed 1 --json
            """)

    @Argument(help: "Student, or another packed file.")
    var original: ModelReference

    @Argument(help: "Packed file.")
    var packed: ModelReference

    @Option(parsing: .unconditional, help: "Seed of the random inputs.")
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
        let model = try addingFile(packed.name) { try DiffusionPipeline(reader) }
        guard model.isPacked else {
            throw CommandError(.badData, "\(packed.name): no packed layers; pack the student again")
        }
        let student = try original.open()
        guard student.recipe != nil else {
            throw CommandError(
                .badData,
                "\(original.name): no quantized layers; give the student that \(packed.name) was made from"
            )
        }
        for pipeline in [student, model] { pipeline.freeze() }
        let result = try addingFile(original.name) {
            try PackedVerification(model, isPackedFrom: student, seed: seed)
        }
        if json { try Output.json(result) } else { print(result) }
        guard let first = result.differences.first else { return }
        throw CommandError(
            .badData,
            "\(packed.name): \(first.name): \(first.detail) (1 of \(result.differences.count) differences from "
                + "\(original.name)); pack the student again, or train it again if its predictions are not finite"
        )
    }

    /// Prints the first differences of each kind, and the number of the others.
    private func printDifferences(_ differences: [PackedVerification.Difference]) {
        let shown = 10
        var kinds: [String] = []
        var counts: [String: Int] = [:]
        for difference in differences {
            let kind = difference.detail.replacing(/[0-9]+/, with: "N")
            if counts[kind] == nil { kinds.append(kind) }
            counts[kind, default: 0] += 1
            if counts[kind, default: 0] <= shown { Output.line("\(difference.name): \(difference.detail)") }
        }
        for kind in kinds {
            if let count = counts[kind], count > shown { Output.line("... and \(count - shown) more: \(kind)") }
        }
    }

    private func print(_ result: PackedVerification) {
        printDifferences(result.differences)
        Output.line(
            "compared: \(result.layers) layers, \(Numbers.grouped(result.codes)) codes, "
                + "\(Numbers.grouped(result.scales)) scales\(result.hasRoundedScales ? " (at 16 bits)" : ""), "
                + "\(Numbers.grouped(result.otherValues)) other values, "
                + "\(Numbers.grouped(result.timeFeatures)) time features (at 16 bits)")
        for output in result.outputs {
            Output.line(
                "noise predictions, activations \(output.activations): root mean square difference "
                    + "\(Numbers.fixed(100 * output.relativeRootMeanSquare, 4)) % of the prediction's, largest "
                    + "\(Numbers.fixed(100 * output.relativeMaximum, 4)) % of its largest value")
        }
        if result.outputs.isEmpty { Output.line("noise predictions were not compared") }
        if result.isEqual { Output.line("equal") }
    }
}
