// SPDX-License-Identifier: Apache-2.0
// `bitsfusion demo`: the whole road on the shipped teacher, by the same commands that a user would type.

import ArgumentParser
import BitsFusion
import Foundation

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Run the whole method on the shipped teacher: minutes on two cores.",
        discussion: """
            Analyzes, allocates 1.99 bits, quantizes after training, distils in both stages, packs, and evaluates all \
            of them with the same prompts and seeds. Every command is printed before it runs.

              bitsfusion demo -o demo

            Leaves grid.png, report.md, scores.json and every intermediate file in the folder.
            """)

    @Option(name: .shortAndLong, help: "The folder to write to.")
    var output = "demo"

    @Option(help: "Budget in bits per weight.")
    var avgBits = 1.99

    @Option(help: "Prompts of each family in the evaluation.")
    var promptsPerFamily = 25

    @Flag(help: "Go on where an interrupted demo stopped.")
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
        for arguments in road {
            let text =
                "bitsfusion " + arguments.map { $0.contains(" ") ? "'\($0)'" : $0 }.joined(separator: " ")
            Output.line("\n$ \(text)")
            let begun = ContinuousClock.now
            var command = try BitsFusionCommand.parseAsRoot(arguments + shared)
            try command.run()
            log.append((text, seconds(since: begun)))
        }
        let scores = try JSONDecoder().decode(ScoreTable.self, from: AtomicFile.read(path("scores.json")))
        try AtomicFile.write(report(scores, log), to: path("report.md"))
        Output.line(
            String(
                format: "\nDone in %.0f s: %@ and %@", seconds(since: start), path("grid.png"),
                path("report.md")))
    }

    /// The commands, in order.
    private var road: [[String]] {
        let (recipe, stage1, stage2, packed) = (
            path("recipe.json"), path("stage1.h5"), path("stage2.h5"), path("packed.h5")
        )
        let again = resume ? ["--resume"] : ["--overwrite"]
        // 25 steps of DDIM visit every second one of the 50 timesteps that the packed files have cached.
        return [
            ["analyze", "shapes", "-o", path("sensitivity.json")] + again,
            ["allocate", path("sensitivity.json"), "--avg-bits", "\(avgBits)", "-o", recipe],
            ["quantize", "shapes", "--recipe", recipe, "-o", path("post-training.h5")],
            ["distill", "--stage", "1", "--recipe", recipe, "-o", stage1] + again,
            ["distill", "--stage", "2", "--student", stage1, "-o", stage2] + again,
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

    private var shared: [String] {
        (common.threads.map { ["--threads", "\($0)"] } ?? []) + (common.quiet ? ["--quiet"] : [])
    }

    private func path(_ name: String) -> String { output + "/" + name }

    private func makeFolder() throws {
        do {
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        } catch {
            throw CommandError(
                .cannotCreate,
                "\(output): the folder cannot be made (\(error.localizedDescription)); choose another with -o"
            )
        }
    }

    private func seconds(since start: ContinuousClock.Instant) -> Double {
        let elapsed = start.duration(to: .now).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    }

    private func report(_ scores: ScoreTable, _ log: [(command: String, seconds: Double)]) -> String {
        let steps = log.map { String(format: "| `%@` | %.1f |", $0.command, $0.seconds) }.joined(
            separator: "\n")
        return """
            # The shapes teacher at \(avgBits) bits per weight

            Rows of the image: full-precision teacher, post-training quantization, stage I, stage II, packed file.

            ![grid](grid.png)

            \(scores.markdown)

            - overall: share of images that satisfy their prompt by the pixel evaluator, mean over six families.
            - CLIP, Fréchet: by the shipped CLIP-proxy and its image features, against rendered scenes.
            - noise error: mean squared difference of the predicted noise to the teacher's.
            - avg bits: the paper's formula, cached time features included; bytes: of the packed file (for students, \
            of the one that they would make).

            | command | seconds |
            | --- | ---: |
            \(steps)

            bitsfusion \(toolVersion), \(scores.rows.first.map { "\($0.score.families.reduce(0) { $0 + $1.count })" } ?? "0") \
            prompts per model, kernels \(kernelInstructionSet), OpenBLAS \(openBLASCoreName), \(Threads.count) threads.

            """
    }
}
