// SPDX-License-Identifier: Apache-2.0
// `bitsfusion import`: converts a diffusers folder or a single-file checkpoint to a model file.

import ArgumentParser
import BitsFusion
import Foundation

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Convert a diffusers folder or checkpoint to a model file.",
        usage: "bitsfusion import <source> [--output <output>] [options]",
        discussion: """
            Reads a Stable Diffusion model (1.x, 2.x, XL base; inpainting; InstructPix2Pix): a diffusers pipeline \
            folder, the folder of a UNet, or one .safetensors file with the names of the original repositories. Writes \
            one model file with every component that a prompt needs: UNet, text encoders with their tokenizers, VAE \
            and scheduler config. Every tensor must have the name and shape of its component's config.

            --lora merges a LoRA of UNet and text encoders (kohya, PEFT and diffusers names).

            The folder of a CLIP model of transformers, such as openai/clip-vit-base-patch32, gives an image-text \
            encoder for the option --clip of `bitsfusion evaluate`.

            Examples:

              bitsfusion import stable-diffusion-v1-5 -o sd15.h5
              bitsfusion import v1-5-pruned-emaonly.safetensors -o sd15.h5
              bitsfusion import sd-v1-5 --variant fp16 --lora style.safetensors=0.8
              bitsfusion import clip-vit-base-patch32 -o clip.h5
            """)

    @Argument(help: "diffusers pipeline folder, UNet folder, CLIP folder, or single-file checkpoint (.safetensors).")
    var source: String

    @Option(name: .shortAndLong, help: "Model file to write.")
    var output = "model.h5"

    @Option(help: "Element type of all tensors (default: unchanged).")
    var dtype: ElementType?

    @Option(help: "Variant of the weights of a folder, such as fp16.")
    var variant: String?

    @Option(
        help: "Prediction type of a single-file checkpoint (default: inferred as in diffusers).")
    var predictionType: PredictionType?

    @Option(
        help: ArgumentHelp("LoRA to merge, with its weight (default: 1); can be repeated.", valueName: "file[=weight]"))
    var lora: [LoRAReference] = []

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        InterruptFlag.install()
        for reference in lora { try reference.check() }
        let pipeline = try PipelineSource(source, variant: variant, predictionType: predictionType?.rawValue)
        if pipeline.component(CheckpointHeader.clip) != nil, !lora.isEmpty {
            throw CommandError(.usage, "--lora: \(source) is a CLIP model, which LoRAs are not for; remove it")
        }
        let adapters = try lora.map { try LoRA($0.path, weight: $0.weight) }
        let files = pipeline.files + lora.map(\.path)
        try Output.checkCanCreate(output, keeping: files)
        let merged = try adapters.isEmpty ? pipeline : pipeline.merging(adapters)
        let total = merged.components.reduce(0) { $0 + $1.tensors.keys.count }
        let progress = common.progress("importing", total: total, unit: "tensors")
        let manifest = try Output.manifest(inputs: files)
        try addingFile(source) {
            try merged.writeModel(to: output, manifest: manifest, as: dtype) { done, _ in
                progress.update(done)
                try InterruptFlag.check()
            }
        }
        progress.endLine()
        if let warning = try merged.checkScheduler() { Output.warning("\(source): \(warning)") }
        for part in merged.omitted { Output.warning("\(source): \(part.name): left out: \(part.reason)") }
        let components = merged.components.map { $0.name }.joined(separator: ", ")
        Output.line("\(output): \(components): \(total) tensors, \(Numbers.bytes(Numbers.fileSize(output)))")
    }
}
