// SPDX-License-Identifier: Apache-2.0
// `bitsfusion analyze`: how sensitive the pictures are to each layer's width.

import ArgumentParser
import BitsFusion
import Foundation

struct AnalyzeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "analyze",
        abstract: "Measure how sensitive the pictures are to each layer's width.",
        discussion: """
            Quantizes one layer at a time to each width (balanced grid, alternating scale initialisation), makes the \
            same pictures as the full-precision model, and writes how they differ: mean squared error and PSNR for \
            pixels in [0, 1] (latents: in units of the reference's range), and the CLIP-proxy score's drop where there \
            is a CLIP-proxy. The first and last convolution are measured at their fixed 8 bits.

            Every measurement is kept at once in <output>.partial; --resume continues an interrupted analysis and \
            ends with the same file.

            Examples:

              bitsfusion analyze shapes
              bitsfusion analyze model.h5 --embeddings e.safetensors --steps 20 -o sensitivity.json
              bitsfusion analyze shapes --layers 'attn2\\.to_[kv]$' -o cross-attention.json
            """)

    @Argument(help: "A full-precision model file, or `shapes` for the shipped teacher.")
    var model: ModelReference

    @Option(name: .shortAndLong, help: "The table to write.")
    var output = "sensitivity.json"

    @Option(help: "Nominal widths to try every layer at, 1 to 8, separated by commas.")
    var bits = "1,2,3"

    @Option(
        help:
            "Pictures per measurement (default: 6, one of each family; with --embeddings: one for each row).")
    var prompts: Int?

    @Option(help: "Sampling steps per picture.")
    var steps = 8

    @Option(help: "Sampler: ddim, pndm or dpm++.")
    var sampler = SamplerKind.ddim

    @Option(help: "Classifier-free guidance; 1 turns it off.")
    var guidanceScale: Float = 3

    @Option(help: "Seed of prompts and noise.")
    var seed: UInt64 = 0

    @Flag(help: "Continue an interrupted analysis.")
    var resume = false

    @Flag(help: "Start anew even if an interrupted analysis left measurements.")
    var overwrite = false

    @Option(
        help: """
            For models without text encoder: a safetensors file with encoder_hidden_states [N, T, D] and \
            negative_encoder_hidden_states.
            """)
    var embeddings: String?

    @Option(help: "A CLIP-proxy file (default: the shipped one, for models of the shapes world).")
    var clip: String?

    @Option(
        help: "Measure only layers whose path matches this regular expression; `allocate` needs all of them.")
    var layers: String?

    @Flag(help: "Print the whole table as JSON instead of the findings.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        _ = try widths()
        if let prompts, prompts < 1 {
            throw ValidationError("--prompts: expected 1 or more, found \(prompts)")
        }
        if steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
        if !guidanceScale.isFinite {
            throw ValidationError("--guidance-scale: expected a finite number, found \(guidanceScale)")
        }
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
        if clip != nil && embeddings != nil {
            throw ValidationError("--clip scores pictures against prompts; with --embeddings there are none")
        }
    }

    func run() throws {
        common.apply()
        try Output.checkCanCreate(output, keeping: [model.path()] + [embeddings, clip].compactMap { $0 })
        let sweep = try makeSweep()
        if resume, let table = try finishedTable(of: sweep) {
            Output.warning("\(output) is finished already")
            return try show(table)
        }
        InterruptFlag.install()
        let url = URL(fileURLWithPath: output)
        var reporter: ProgressReporter?
        let table = try sweep.run(
            output: url, unfinished: resume ? .resumed : overwrite ? .overwritten : .refused,
            progress: { progress in
                let current =
                    reporter
                    ?? ProgressReporter(
                        "analyzing", total: progress.total, unit: "measurements", isQuiet: common.quiet,
                        first: progress.done)
                reporter = current
                current.update(
                    progress.done, note: progress.latest.map { "\($0.path) at \($0.width) bits" } ?? "")
            }, shouldStop: { InterruptFlag.isSet })
        reporter?.endLine()
        guard let table else {
            throw Interrupted(
                note: "measurements are kept in \(output).partial; continue with --resume")
        }
        for candidate in sweep.unusable {
            Output.warning(
                "\(candidate.path) at \(candidate.width) bits: the pictures are not finite; the table leaves this "
                    + "width out")
        }
        try show(table)
    }

    private func show(_ table: SensitivityTable) throws {
        guard !json else { return try Output.json(table) }
        SensitivityReport(table).print()
        Output.line("")
        Output.line("\(output); next: bitsfusion allocate \(output) --avg-bits 1.99")
    }

    /// The table that lies at the output already, where nothing is left to resume and it is this analysis's.
    private func finishedTable(of sweep: SensitivitySweep) throws -> SensitivityTable? {
        let url = URL(fileURLWithPath: output)
        let files = FileManager.default
        guard !files.fileExists(atPath: SensitivitySweep.journalPath(of: url)) else { return nil }
        if files.fileExists(atPath: output) {
            let table = try SensitivityTable.load(contentsOf: url)
            if sweep.isFinished(in: table) { return table }
            Output.warning("\(output) is of another analysis; starting anew")
        } else {
            Output.warning("\(output) was not begun yet; starting anew")
        }
        return nil
    }

    private func makeSweep() throws -> SensitivitySweep {
        let pipeline = try model.open()
        let subjects = try embeddings.map {
            try AnalysisSubjects(embeddingsFile: $0, count: prompts, seed: seed, pipeline: pipeline)
        }
        let scorer = try scorer(for: pipeline)
        let reference = try model.fileReference()
        var inputs = [reference]
        if let embeddings = subjects?.embeddings { inputs.append(embeddings) }
        if let scorer { inputs.append(scorer.file) }
        let chosen =
            try subjects
            ?? AnalysisSubjects(
                promptCount: prompts ?? PromptFamily.allCases.count, seed: seed, pipeline: pipeline)
        return try SensitivitySweep(
            pipeline: pipeline, model: reference, subjects: chosen, clip: scorer?.proxy,
            options: SensitivityOptions(
                widths: try widths(),
                generation: GenerationOptions(sampler: sampler, steps: steps, guidanceScale: guidanceScale),
                layerPattern: layers),
            manifest: RunManifest(
                toolVersion: toolVersion, commandLine: ["bitsfusion"] + CommandLine.arguments.dropFirst(),
                seed: seed, inputs: inputs))
    }

    private func widths() throws -> [BitWidth] {
        try bits.split(separator: ",", omittingEmptySubsequences: false).map { text in
            let text = text.trimmingCharacters(in: .whitespaces)
            guard let width = Int(text).flatMap(BitWidth.init(rawValue:)) else {
                throw ValidationError(
                    "--bits: expected widths of 1 to 8 separated by commas, found \"\(bits)\"")
            }
            return width
        }
    }

    /// The CLIP-proxy that was given, or the shipped one where it can judge the model's pictures.
    private func scorer(for pipeline: DiffusionPipeline) throws -> (proxy: ClipProxy, file: FileReference)? {
        let makesShapes = pipeline.textEncoder != nil && pipeline.unet.config.outChannels == 3
        guard clip != nil || (makesShapes && embeddings == nil) else { return nil }
        let path = try clip ?? ShippedModels.clipProxy()
        // Named without its folder where it is the shipped one, so that the table does not depend on where that lies.
        let name = clip ?? URL(fileURLWithPath: path).lastPathComponent
        let file = FileReference(path: name, sha256: try FileDigest.sha256(ofFile: path))
        return (try ClipProxy(file: path), file)
    }
}
