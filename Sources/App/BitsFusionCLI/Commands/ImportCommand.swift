// SPDX-License-Identifier: Apache-2.0
// `bitsfusion import`: a diffusers folder as a model file.

import ArgumentParser
import BitsFusion

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Turn a diffusers folder into a model file.",
        discussion: """
            Reads config.json and *.safetensors (float32, float16 or bfloat16, in one file or in shards with an \
            index) of a UNet folder, or of the folder unet/ of a whole pipeline, whose scheduler config comes \
            along. Every tensor must have the name and shape that the config asks for.

            Example:

              bitsfusion import stable-diffusion-v1-5 -o model.h5
            """)

    @Argument(help: "A diffusers UNet folder, or a pipeline folder with unet/ in it.")
    var folder: String

    @Option(name: .shortAndLong, help: "The model file to write.")
    var output = "model.h5"

    @Option(help: "Type of every tensor (default: each tensor keeps its own).")
    var dtype: ElementType?

    @Option(help: "Which weights to take where there are several, such as fp16.")
    var variant: String?

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let source = try DiffusersFolder(folder, variant: variant)
        try Output.checkCanCreate(output, keeping: source.files)
        InterruptFlag.install()
        let progress = common.progress("importing", total: source.weights.keys.count, unit: "tensors")
        let manifest = try Output.manifest(inputs: source.files)
        try naming(source.path + "/config.json") {
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
