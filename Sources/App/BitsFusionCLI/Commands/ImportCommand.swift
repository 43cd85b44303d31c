// SPDX-License-Identifier: Apache-2.0
// `bitsfusion import`: converts a diffusers folder to a model file.

import ArgumentParser
import BitsFusion

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Convert a diffusers folder to a model file.",
        usage: "bitsfusion import <folder> [--output <output>] [options]",
        discussion: """
            Reads config.json and *.safetensors (float32, float16 or bfloat16; one file or \
            shards with an index) of a UNet folder or of unet/ in a pipeline folder, with the \
            pipeline's scheduler config. Writes one model file. Every tensor must have the name \
            and shape of the config.

            Examples:

              bitsfusion import stable-diffusion-v1-5 -o model.h5
              bitsfusion import stable-diffusion-v1-5 --variant fp16 -o model.h5
            """)

    @Argument(help: "diffusers UNet folder, or pipeline folder with unet/.")
    var folder: String

    @Option(name: .shortAndLong, help: "Model file to write.")
    var output = "model.h5"

    @Option(help: "Element type of all tensors (default: unchanged).")
    var dtype: ElementType?

    @Option(help: "Variant of the weights, such as fp16.")
    var variant: String?

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let source = try DiffusersFolder(folder, variant: variant)
        try Output.checkCanCreate(output, keeping: source.files)
        InterruptFlag.install()
        let progress = common.progress("importing", total: source.weights.keys.count, unit: "tensors")
        let manifest = try Output.manifest(inputs: source.files)
        try addingFile(source.path + "/config.json") {
            try source.writeModel(to: output, manifest: manifest, as: dtype) { done, _ in
                progress.update(done)
                try InterruptFlag.check()
            }
        }
        progress.endLine()
        Output.line(
            "\(output): \(source.weights.keys.count) tensors, \(Numbers.bytes(Numbers.fileSize(output)))")
    }
}
