// SPDX-License-Identifier: Apache-2.0
// The root command. A new command is one file in Commands/ and one line in `subcommands`.

import ArgumentParser
import BitsFusion

@main
struct BitsFusionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bitsfusion",
        abstract: "Quantize diffusion models to about 2 bits per weight.",
        discussion: """
            Implements BitsFusion (arXiv:2406.04333): measures the sensitivity of each layer to quantization, assigns \
            bits per layer under a size budget, and recovers quality by distillation. Commands pass files through the \
            current directory. The whole pipeline on the shipped model:

              bitsfusion analyze shapes
              bitsfusion allocate --avg-bits 1.99
              bitsfusion distill --stage 1
              bitsfusion distill --stage 2
              bitsfusion pack stage2.h5 -o packed.h5
              bitsfusion verify stage2.h5 packed.h5
              bitsfusion sample packed.h5 --prompt "a red circle" -o grid.png

            Results go to standard output, progress and warnings to standard error. Exit status: 0 success, \
            64 usage error, 65 invalid input, 66 missing input, 70 internal error, 73 output cannot be created, \
            74 read or write error, 130 interrupted.
            """,
        version: toolVersion,
        subcommands: subcommands)

    /// Every command, in the order of the help page.
    static let subcommands: [any ParsableCommand.Type] = [
        ImportCommand.self,
        ExportCommand.self,
        InitCommand.self,
        InfoCommand.self,
        PredictCommand.self,
        SampleCommand.self,
        AnalyzeCommand.self,
        MergeCommand.self,
        AllocateCommand.self,
        QuantizeCommand.self,
        DatasetCommand.self,
        DistillCommand.self,
        PackCommand.self,
        VerifyCommand.self,
        EvaluateCommand.self,
        TrainCommand.self,
        DemoCommand.self,
        VersionCommand.self,
    ]

    static func main() {
        CommandMain.run()
    }
}
