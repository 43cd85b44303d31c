// SPDX-License-Identifier: Apache-2.0
// `bitsfusion sample`: samples images with a model of any kind.

import ArgumentParser
import BitsFusion
import Foundation

struct SampleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sample",
        abstract: "Sample images.",
        usage: "bitsfusion sample <model> (--prompt <prompt> | --prompts <file> | --embeddings <embeddings>) [options]",
        discussion: """
            Reads a model, student or packed file and prompts. Image i of each prompt starts from seed --seed + i, so \
            that models and prompts can be compared image by image.

            A latent model with its VAE writes one PNG file per image; its parameters are stored in the text chunk \
            `parameters`. Several images are numbered: image-1.png, image-2.png. With the same seed, sampler and \
            options, images equal those of diffusers. Other models write one PNG file with --rows rows of --columns \
            images per prompt; latents without a VAE are shown in false colors and written to a .safetensors file next \
            to the PNG.

            --lora computes LoRAs of UNet and text encoders beside the weights, which may be packed. \
            A prompt can name others: <lora:NAME:WEIGHT> is NAME.safetensors in --lora-folder.

            A packed model with cached time features samples with the steps and the sampler that it was packed for. A \
            model without a text encoder takes --embeddings instead of prompts.

            Examples:

              bitsfusion sample packed.h5 --prompt "an astronaut on a horse" -o a.png
              bitsfusion sample packed.h5 --prompt "a cat" --init-image dog.jpg
              bitsfusion sample packed.h5 --prompt "a cat" --lora style.safetensors=0.8
              bitsfusion sample shapes --prompt "a red circle left of a blue square"
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Sampling options") var sampling: SamplingChoices
    @OptionGroup(title: "Image options") var image: ImageOptions
    @OptionGroup(title: "Computation options") var computation: ComputationOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(help: "Prompt; can be repeated.")
        var prompt: [String] = []

        @Option(help: ArgumentHelp("Prompts: .txt with one per line, .jsonl or .tsv.", valueName: "file"))
        var prompts: String?

        @Option(help: "Negative prompt for all images.")
        var negativePrompt: String?

        @Option(
            help: """
                safetensors file with encoder_hidden_states [N, T, D] and negative_encoder_hidden_states [N, T, D] or \
                [1, T, D], instead of prompts.
                """)
        var embeddings: String?

        @Option(
            help: ArgumentHelp(
                "LoRA for all images, with its weight (default: 1); can be repeated.", valueName: "file[=weight]"))
        var lora: [LoRAReference] = []

        @Option(
            help: ArgumentHelp(
                "Folder of the LoRAs that prompts name (default: the current folder).", valueName: "folder"))
        var loraFolder: String?

        @Option(name: .shortAndLong, help: "PNG file to write (default: image.png, or grid.png for a grid).")
        var output: String?

        @Option(parsing: .unconditional, help: "Images per prompt (default: rows * columns of a grid, else 1).")
        var count: Int?

        @Option(help: "Rows of images per prompt in a grid (default: 1).")
        var rows: Int?

        @Option(help: "Images per row of a grid (default: 4).")
        var columns: Int?

        func validate() throws {
            guard [!prompt.isEmpty, prompts != nil, embeddings != nil].count(where: { $0 }) == 1 else {
                throw ValidationError("--prompt, --prompts, --embeddings: expected exactly one of them")
            }
            guard embeddings == nil || negativePrompt == nil else {
                throw ValidationError("--negative-prompt: cannot be combined with --embeddings")
            }
            if loraFolder != nil, embeddings != nil {
                throw ValidationError("--lora-folder: cannot be combined with --embeddings; use --lora")
            }
            for (name, value) in [("rows", rows ?? 1), ("columns", columns ?? 4), ("count", count ?? 1)]
            where !(1...1000).contains(value) {
                throw ValidationError("--\(name): expected 1 to 1000, found \(value)")
            }
            if rows != nil, count != nil {
                throw ValidationError("--rows: has no effect with --count; remove it")
            }
            let otherFormats = ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "safetensors", "h5"]
            if let output, otherFormats.contains(PathParts(output).name.split(separator: ".").last?.lowercased() ?? "")
            {
                throw ValidationError("--output: expected a PNG file, found \(output); choose a .png name")
            }
        }
    }

    struct SamplingChoices: ParsableArguments {
        @Option(
            parsing: .unconditional, help: "Sampling steps (default: those that a file was packed for, else 50).")
        var steps: Int?

        @Option(help: "Sampler (default: the model's own).")
        var sampler: SamplerKind?

        @Option(
            parsing: .unconditional,
            help: ArgumentHelp(
                "Classifier-free guidance scale; 1 disables guidance (default: 7.5; SDXL without --mask 5, "
                    + "pixel-space models 3).",
                valueName: "scale"))
        var guidanceScale: Float?

        @Option(
            parsing: .unconditional,
            help: "Rescales the guided prediction, 0 to 1 (arXiv:2305.08891); 0.7 for models with zero terminal SNR.")
        var guidanceRescale: Float = 0

        @Option(parsing: .unconditional, help: "Layers at the end of the text encoder that are left out.")
        var clipSkip: Int?

        @Option(parsing: .unconditional, help: "Seed of the random numbers.")
        var seed: UInt64 = 0

        @Option(
            help: """
                Random numbers. torch: those of torch.Generator("cpu"); philox: this program's (default: torch for \
                latent models, else philox).
                """)
        var rng: RandomNumberKind?

        func validate() throws {
            try validateSampling(steps: steps, guidanceScale: guidanceScale)
            guard (0...1).contains(guidanceRescale) else {
                throw ValidationError("--guidance-rescale: expected 0 to 1, found \(guidanceRescale)")
            }
        }
    }

    struct ImageOptions: ParsableArguments {
        @Option(
            parsing: .unconditional,
            help: """
                Height of the images in pixels (default: the model's own; without --width and --mask that of \
                --init-image).
                """)
        var height: Int?

        @Option(
            parsing: .unconditional,
            help: """
                Width of the images in pixels (default: the model's own; without --height and --mask that of \
                --init-image).
                """)
        var width: Int?

        @Option(help: "PNG, JPEG or WebP file to start from.")
        var initImage: String?

        @Option(
            parsing: .unconditional,
            help: "Share of the steps that change --init-image, above 0 to 1 (default: 0.8; SDXL 0.3; 1 with --mask).")
        var strength: Double?

        @Option(help: "Image file that is white where --init-image is repainted.")
        var mask: String?

        @Option(
            parsing: .unconditional,
            help: "Guidance towards --init-image for InstructPix2Pix models (default: 1.5).")
        var imageGuidanceScale: Float?

        @Option(help: "safetensors file with initial noise: latents [N, C, H, W].")
        var latents: String?

        @Option(help: "safetensors file to write the final latents to: latents [N, C, H, W].")
        var saveLatents: String?

        func validate() throws {
            for (name, value) in [("height", height), ("width", width)] {
                if let value, !(1...16384).contains(value) {
                    throw ValidationError("--\(name): expected 1 to 16384 pixels, found \(value)")
                }
            }
            if let strength, !(strength > 0 && strength <= 1) {
                throw ValidationError("--strength: expected a number above 0, up to 1, found \(strength)")
            }
            if strength != nil, initImage == nil { throw ValidationError("--strength: needs --init-image") }
            if mask != nil, initImage == nil { throw ValidationError("--mask: needs --init-image") }
            if let imageGuidanceScale, !(imageGuidanceScale.isFinite && imageGuidanceScale >= 1) {
                throw ValidationError("--image-guidance-scale: expected 1 or more, found \(imageGuidanceScale)")
            }
        }
    }

    struct ComputationOptions: ParsableArguments {
        @Option(help: "Images per batch (default: 8, or 1 for large models).")
        var batchSize: Int?

        @Flag(help: "Decode in overlapping tiles: less memory, and slightly different images.")
        var vaeTiling = false

        @OptionGroup var activations: ActivationOptions

        func validate() throws {
            if let batchSize, !(1...1000).contains(batchSize) {
                throw ValidationError("--batch-size: expected 1 to 1000, found \(batchSize)")
            }
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        try SampleRun(self).run()
    }
}
