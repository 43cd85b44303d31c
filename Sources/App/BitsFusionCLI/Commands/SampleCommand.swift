// SPDX-License-Identifier: Apache-2.0
// `bitsfusion sample`: samples images with a model of any kind.

import ArgumentParser
import BitsFusion
import Foundation

struct SampleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sample",
        abstract: "Sample images.",
        usage: "bitsfusion sample <model> (--prompt <prompt> | --embeddings <embeddings>) [options]",
        discussion: """
            Reads a model, student or packed file and prompts. Writes a PNG file with --rows rows of --columns images \
            per prompt. Image i of each prompt starts from seed --seed + i, so that models and prompts can be \
            compared image by image. For latent models, latents are written to a .safetensors file next to the PNG, \
            which shows them in false colors.

            A packed model with cached time features samples with the steps and the sampler that it was packed for. A \
            model without a text encoder takes --embeddings instead of prompts.

            Examples:

              bitsfusion sample shapes --prompt "a red circle left of a blue square"
              bitsfusion sample packed.h5 --embeddings e.safetensors --sampler ddim --seed 7
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Sampling options") var sampling: SamplingOptions<SampleDefaults>
    @OptionGroup(title: "Computation options") var computation: ComputationOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(help: "Prompt; can be repeated.")
        var prompt: [String] = []

        @Option(
            help: """
                safetensors file with encoder_hidden_states [N, T, D] and negative_encoder_hidden_states [N, T, D] or \
                [1, T, D], instead of prompts.
                """)
        var embeddings: String?

        @Option(name: .shortAndLong, help: "PNG file to write.")
        var output = "grid.png"

        @Option(help: "Rows of images per prompt.")
        var rows = 1

        @Option(help: "Images per row.")
        var columns = 4

        func validate() throws {
            guard prompt.isEmpty != (embeddings == nil) else {
                throw ValidationError("--prompt, --embeddings: expected exactly one of them")
            }
            for (name, value) in [("rows", rows), ("columns", columns)] where !(1...1000).contains(value) {
                throw ValidationError("--\(name): expected 1 to 1000, found \(value)")
            }
            guard !output.hasSuffix(".safetensors") else {
                throw ValidationError("--output: expected a PNG file, found \(output); choose a .png name")
            }
        }
    }

    enum SampleDefaults: SamplingDefaults {
        static let steps = 50
        static let sampler = SamplerKind.pndm
        static let seed: UInt64 = 0
        static let guidanceScale = "3 with the file's own text encoder, else 7.5"
    }

    struct ComputationOptions: ParsableArguments {
        @Option(help: "Images per batch.")
        var batchSize = 8

        @OptionGroup var activations: ActivationOptions

        func validate() throws {
            guard (1...1000).contains(batchSize) else {
                throw ValidationError("--batch-size: expected 1 to 1000, found \(batchSize)")
            }
        }
    }

    func run() throws {
        common.apply()
        let (output, embeddings) = (main.output, main.embeddings)
        try Output.checkCanCreate(output, keeping: [model.path()] + [embeddings].compactMap { $0 })
        let pipeline = try model.open(precision: .keep16Bit)
        pipeline.freeze()
        computation.activations.apply(to: pipeline)
        let isLatent = pipeline.denoiser.config.isLatent
        let latents = PathParts(output).sibling(PathParts(output).stem + ".safetensors")
        if isLatent { try Output.checkCanCreate(latents, keeping: [embeddings].compactMap { $0 }) }
        let perPrompt = main.rows * main.columns
        let conditions = try conditions(for: pipeline).repeated(perPrompt)
        let seeds = (0..<conditions.count).map { sampling.seed &+ UInt64($0 % perPrompt) }
        let options = GenerationOptions(
            sampler: sampling.sampler, steps: sampling.steps,
            guidanceScale: sampling.guidanceScale ?? (pipeline.textEncoder == nil ? 7.5 : 3),
            batchSize: computation.batchSize)
        InterruptFlag.install()
        let progress = common.progress("sampling", total: sampling.steps * conditions.count, unit: "image steps")
        let samples = try pipeline.generate(conditions, seeds: seeds, options: options) { share in
            progress.update(share: share)
            try InterruptFlag.check()
        }
        progress.endLine()
        guard samples.isFinite else {
            throw CommandError(
                .badData,
                "\(model.name): samples: not finite; use a smaller --guidance-scale, or another model")
        }
        if isLatent {
            try Output.tensors([("latents", samples)], to: latents)
            Output.line(latents)
        }
        try PNGFile.write(grid(of: samples, isLatent: isLatent).render(), to: output)
        Output.line(output)
    }

    private func conditions(for pipeline: DiffusionPipeline) throws -> PromptEmbeddings {
        if let embeddings = main.embeddings {
            return try addingFile(embeddings) {
                try PromptEmbeddings(embeddings: embeddings, config: pipeline.denoiser.config)
            }
        }
        return try PromptEmbeddings(prompts: main.prompt, pipeline: pipeline)
    }

    private func grid(of samples: Tensor, isLatent: Bool) -> ImageGrid {
        let images = isLatent ? latentPreview(samples) : images(samples)
        var rows: [[RGBImage]] = []
        for start in stride(from: 0, to: images.count, by: main.columns) {
            rows.append(Array(images[start..<min(start + main.columns, images.count)]))
        }
        let labels = rows.indices.map { index in
            index % main.rows == 0 && !main.prompt.isEmpty ? main.prompt[index / main.rows] : ""
        }
        let width = samples.shape[3]
        return ImageGrid(rows: rows, rowLabels: labels, pixelScale: max(160 / max(width, 1), 1))
    }
}

extension PromptEmbeddings {
    /// Repeats each condition `times` times.
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

// MARK: Samples as images. B samples, C channels, H W size.

/// The images of a pixel-space model.
///
/// - Parameter samples: `[B, 3, H, W]`, or `[B, 1, H, W]` for gray images, in [-1, 1].
/// - Returns: B images.
func images(_ samples: Tensor) -> [RGBImage] {
    planes(of: samples).map { image in
        let rgb = samples.shape[1] == 1 ? image + image + image : image
        return RGBImage(width: samples.shape[3], height: samples.shape[2], modelRange: rgb)
    }
}

/// A preview of latents: the first three channels as red, green and blue, each scaled so that two standard deviations
/// around its mean over all samples fill the range. It shows structure, not colors.
///
/// - Parameter samples: `[B, C, H, W]`; with fewer than three channels the last one is repeated.
/// - Returns: B images.
func latentPreview(_ samples: Tensor) -> [RGBImage] {
    let area = samples.shape[2] * samples.shape[3]
    let images = planes(of: samples)
    let channels = samples.shape[1]
    var pixels = images.map { _ in [Float]() }
    for color in 0..<3 {
        let channel = min(color, channels - 1)
        let values = images.map { Array($0[channel * area..<(channel + 1) * area]) }
        let all = values.joined()
        let count = Double(max(all.count, 1))
        let mean = all.reduce(0.0) { $0 + Double($1) } / count
        let variance = all.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count
        let halfRange = max(2 * variance.squareRoot(), 1e-12)
        for (index, plane) in values.enumerated() {
            pixels[index] += plane.map { Float(min(max((Double($0) - mean) / halfRange, -1), 1) * 0.5 + 0.5) }
        }
    }
    return pixels.map { RGBImage(width: samples.shape[3], height: samples.shape[2], pixels: $0) }
}

/// The values of each sample, `[C, H, W]` flat.
private func planes(of samples: Tensor) -> [[Float]] {
    let size = samples.count / max(samples.shape[0], 1)
    let values = samples.values
    return (0..<samples.shape[0]).map { Array(values[$0 * size..<($0 + 1) * size]) }
}
