// SPDX-License-Identifier: Apache-2.0
// `bitsfusion init`: writes a randomly initialized model of any config.

import ArgumentParser
import BitsFusion

struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Write a model with random weights for size studies.",
        usage: "bitsfusion init --config <config> [--output <output>] [options]",
        discussion: """
            Reads a diffusers UNet config.json. Writes a model file with Gaussian weights of \
            standard deviation 1/sqrt(fan-in), norms 1 and biases 0. Values depend on the seed \
            and the name of each parameter only. Parameters are written one at a time, so that \
            the model may be larger than the memory.

            Examples:

              bitsfusion init --config Configs/unet-sd15.json -o random.h5
              bitsfusion init --config Configs/unet-sd15.json --dtype float16 -o random.h5
            """)

    @Option(help: "diffusers UNet config.json.")
    var config: String

    @Option(parsing: .unconditional, help: "Seed of the random numbers.")
    var seed: UInt64 = 0

    @Option(name: .shortAndLong, help: "Model file to write.")
    var output = "random.h5"

    @Option(help: "Element type of all tensors.")
    var dtype = ElementType.float32

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let architecture = try DenoiserRegistry.config(file: config)
        let inventory = try architecture.inventory()
        try Output.checkCanCreate(output, keeping: [config])
        let total = inventory.weightCount + inventory.otherParameters
        try Output.checkSpace(for: output, bytes: total * dtype.bytesPerElement)
        let progress = common.progress("initializing", total: total, unit: "parameters")
        try RandomModel.write(
            architecture, seed: seed, to: output, manifest: Output.manifest(inputs: [config], seed: seed), as: dtype
        ) {
            progress.update(share: $0)
            try InterruptFlag.check()
        }
        progress.endLine()
        Output.line(
            "\(output): \(Numbers.grouped(total)) parameters, \(Numbers.bytes(Numbers.fileSize(output)))")
    }
}
