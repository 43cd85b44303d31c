// SPDX-License-Identifier: Apache-2.0
// `bitsfusion demo`: runs the whole pipeline on the shipped teacher, by the commands that a user would type.

import ArgumentParser
import BitsFusion
import Foundation

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Run the whole pipeline on the shipped teacher.",
        usage: "bitsfusion demo [--output <output>] [options]",
        discussion: """
            Measures the sensitivity of all layers, allocates 1.99 bits per weight with `--method entropy`, quantizes \
            without training, distills in both stages, packs, and evaluates all models with the same prompts and \
            seeds; takes minutes on two cores. Prints every command before it runs. Writes grid.png, report.md, \
            scores.json and all intermediate files to the output folder.

            Examples:

              bitsfusion demo -o demo
              bitsfusion demo --avg-bits 2.5 --prompts-per-family 10 -o demo-2.5
            """)

    @Option(name: .shortAndLong, help: "Folder to write to.")
    var output = "demo"

    @Option(help: "Budget: the entropy of the codes, in bits per weight.")
    var avgBits = 1.99

    @Option(help: "Prompts of each of the six families in the evaluation.")
    var promptsPerFamily = 15

    @Flag(help: "Continue an interrupted demo.")
    var resume = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard promptsPerFamily > 0 else {
            throw ValidationError("--prompts-per-family: expected 1 or more, found \(promptsPerFamily)")
        }
    }

    func run() throws {
        try makeFolder()
        let start = ContinuousClock.now
        var log: [(command: String, seconds: Double)] = []
        for arguments in commands {
            let text =
                "bitsfusion " + arguments.map { $0.contains(" ") ? "'\($0)'" : $0 }.joined(separator: " ")
            Output.line("\n$ \(text)")
            let commandStart = ContinuousClock.now
            var command = try BitsFusionCommand.parseAsRoot(arguments + sharedOptions)
            try command.run()
            log.append((text, Numbers.seconds(commandStart.duration(to: .now))))
        }
        let scores = try JSONDecoder().decode(ScoreTable.self, from: AtomicFile.read(path("scores.json")))
        try AtomicFile.write(report(scores, log), to: path("report.md"))
        Output.line(
            String(
                format: "\nDone in %.0f s: %@ and %@", Numbers.seconds(start.duration(to: .now)), path("grid.png"),
                path("report.md")))
    }

    /// The commands, in order.
    private var commands: [[String]] {
        let (recipe, stage1, stage2, packed) = (
            path("recipe.json"), path("stage1.h5"), path("stage2.h5"), path("packed.h5")
        )
        let continuation = resume ? ["--resume"] : ["--overwrite"]
        // The timesteps of 25 DDIM steps are every second one of the 50 cached ones.
        return [
            ["analyze", "shapes", "--measure", "noise", "-o", path("sensitivity.json")] + continuation,
            [
                "allocate", path("sensitivity.json"), "--method", "entropy", "--avg-bits", "\(avgBits)", "-o", recipe,
            ],
            ["quantize", "shapes", "--recipe", recipe, "-o", path("post-training.h5")],
            ["distill", "--stage", "1", "--recipe", recipe, "--steps", "150", "-o", stage1] + continuation,
            ["distill", "--stage", "2", "--student", stage1, "--steps", "100", "-o", stage2] + continuation,
            ["pack", stage2, "-o", packed],
            ["info", packed],
            [
                "evaluate", "shapes", path("post-training.h5"), stage1, stage2, packed,
                "--prompts-per-family",
                "\(promptsPerFamily)", "--sampler", "ddim", "--steps", "25", "--grid", path("grid.png"), "-o",
                path("scores.json"),
            ],
        ]
    }

    private var sharedOptions: [String] {
        (common.threads.map { ["--threads", "\($0)"] } ?? []) + (common.quiet ? ["--quiet"] : [])
    }

    private func path(_ name: String) -> String { output + "/" + name }

    private func makeFolder() throws {
        do {
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        } catch {
            throw CommandError(
                .cannotCreate,
                "\(output): cannot be created: \(error.localizedDescription); choose another --output"
            )
        }
    }

    private func report(_ scores: ScoreTable, _ log: [(command: String, seconds: Double)]) -> String {
        let prompts = scores.rows.first.map { row in row.score.families.reduce(0) { $0 + $1.count } } ?? 0
        let steps = log.map { String(format: "| `%@` | %.1f |", $0.command, $0.seconds) }.joined(
            separator: "\n")
        return """
            # The shapes teacher at \(avgBits) bits per weight

            Rows of the image: full-precision teacher, post-training quantization, stage I, stage II, packed file.

            ![grid](grid.png)

            \(scores.markdown)

            - overall: share of images that match their prompt by the pixel evaluator, mean over six families.
            - CLIP, Fréchet: by the shipped CLIP-proxy and its image features, against rendered scenes.
            - noise error: mean squared difference of the predicted noise to the teacher's.
            - avg bits: the paper's formula, with cached time features; entropy: the same with the entropy of the \
            codes in place of log2(levels); bytes: of the packed file (for students, a forecast).

            | command | seconds |
            | --- | ---: |
            \(steps)

            bitsfusion \(toolVersion), \(prompts) prompts per model, kernels \(kernelInstructionSet), \
            OpenBLAS \(openBLASCoreName), \(Threads.count) threads.

            """
    }
}
