// SPDX-License-Identifier: Apache-2.0
// `bitsfusion sample`: images of a model of any kind, in one grid.

import ArgumentParser
import BitsFusion
import Foundation

struct SampleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sample",
        abstract: "Make images.",
        discussion: """
            Every prompt gets --rows rows of --columns images; image i of each prompt starts from seed \
            --seed + i, so that models and prompts compare image by image.

            A model without a text encoder takes --embeddings instead of prompts: a safetensors file with \
            encoder_hidden_states [N, T, D] and negative_encoder_hidden_states [N, T, D] (or [1, T, D]). A latent model's \
            latents go to a .safetensors file beside the PNG, which then shows them in false colours.

            A packed model with cached time features samples with the steps and sampler that it was packed for.

            Example:

              bitsfusion sample shapes --prompt "a red circle left of a blue square" --columns 4 -o grid.png
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(help: "What to draw; may be given several times.")
    var prompt: [String] = []

    @Option(help: "Text embeddings in place of prompts, for models without a text encoder.")
    var embeddings: String?

    @Option(name: .shortAndLong, help: "The PNG file to write.")
    var output = "grid.png"

    @Option(parsing: .unconditional, help: "Sampling steps.")
    var steps = 50

    @Option(
        parsing: .unconditional,
        help:
            "Strength of classifier-free guidance; 1 is none (default: 3 with a text encoder of the file's own, else 7.5)."
    )
    var guidanceScale: Float?

    @Option(help: "How noise becomes an image.")
    var sampler = SamplerKind.pndm

    @Option(parsing: .unconditional, help: "Seed of the first image's noise.")
    var seed: UInt64 = 0

    @Option(help: "Rows of images per prompt.")
    var rows = 1

    @Option(help: "Images per row.")
    var columns = 4

    @Option(help: "Images computed at once.")
    var batchSize = 8

    @OptionGroup var activations: ActivationArguments
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard prompt.isEmpty != (embeddings == nil) else {
            throw ValidationError("give either --prompt \"...\" or --embeddings e.safetensors")
        }
        for (name, value) in [("rows", rows), ("columns", columns), ("batch-size", batchSize)]
        where !(1...1000).contains(value) {
            throw ValidationError("--\(name): expected 1 to 1000, found \(value)")
        }
        guard !output.hasSuffix(".safetensors") else {
            throw ValidationError(
                "--output: expected a PNG file, found \(output), where a latent model's latents go")
        }
        if let guidanceScale, !guidanceScale.isFinite {
            throw ValidationError("--guidance-scale: expected a finite number, found \(guidanceScale)")
        }
    }

    func run() throws {
        common.apply()
        try Output.checkCanCreate(output, keeping: [model.path()] + [embeddings].compactMap { $0 })
        let pipeline = try model.open(precision: .keep16Bit)
        pipeline.freeze()
        activations.apply(to: pipeline)
        let isLatent = pipeline.denoiser.config.isLatent
        let latents = PathParts(output).sibling(PathParts(output).stem + ".safetensors")
        if isLatent { try Output.checkCanCreate(latents, keeping: [embeddings].compactMap { $0 }) }
        let perPrompt = rows * columns
        let conditions = try conditions(for: pipeline).repeated(perPrompt)
        let seeds = (0..<conditions.count).map { seed &+ UInt64($0 % perPrompt) }
        let options = GenerationOptions(
            sampler: sampler, steps: steps,
            guidanceScale: guidanceScale ?? (pipeline.textEncoder == nil ? 7.5 : 3), batchSize: batchSize)
        InterruptFlag.install()
        let progress = common.progress("sampling", total: steps * conditions.count, unit: "image steps")
        let samples = try pipeline.generate(conditions, seeds: seeds, options: options) { share in
            progress.update(share: share)
            try InterruptFlag.check()
        }
        progress.endLine()
        guard samples.isFinite else {
            throw CommandError(
                .badData,
                "\(model.name): the samples are not finite; use a smaller --guidance-scale or a sound model")
        }
        if isLatent {
            try SafetensorsFile.write([("latents", samples)], to: latents)
            Output.line(latents)
        }
        try PNGFile.write(grid(of: samples, isLatent: isLatent).render(), to: output)
        Output.line(output)
    }

    private func conditions(for pipeline: DiffusionPipeline) throws -> PromptEmbeddings {
        if let embeddings { return try PromptEmbeddings(embeddings: embeddings, config: pipeline.denoiser.config) }
        return try PromptEmbeddings(prompts: prompt, pipeline: pipeline)
    }

    private func grid(of samples: Tensor, isLatent: Bool) -> ImageGrid {
        let images = isLatent ? latentPreview(samples) : images(samples)
        var rows: [[RGBImage]] = []
        for start in stride(from: 0, to: images.count, by: columns) {
            rows.append(Array(images[start..<min(start + columns, images.count)]))
        }
        let labels = rows.indices.map { index in
            index % self.rows == 0 && !prompt.isEmpty ? prompt[index / self.rows] : ""
        }
        let width = samples.shape[3]
        return ImageGrid(rows: rows, rowLabels: labels, pixelScale: max(160 / max(width, 1), 1))
    }
}

extension PromptEmbeddings {
    /// Each condition `times` times in a row.
    func repeated(_ times: Int) -> PromptEmbeddings {
        guard times > 1 else { return self }
        return map { tensor in
            .concatenated(
                (0..<tensor.shape[0]).flatMap { row in
                    Array(repeating: tensor.sliced(axis: 0, row..<row + 1), count: times)
                }, axis: 0)
        }
    }
}
