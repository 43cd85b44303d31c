// SPDX-License-Identifier: Apache-2.0
// `bitsfusion init`: a randomly initialised model of any config.

import ArgumentParser
import BitsFusion

struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Write a randomly initialised model, for benchmarks and size studies.",
        discussion: """
            Weights are Gaussian with standard deviation 1/sqrt(fan-in), norms 1, biases 0. The values depend on \
            the seed and on each parameter's name alone. ParameterPath are written one by one, so that models larger \
            than the memory can be made.

            Example:

              bitsfusion init --config Configs/unet-sd15.json --seed 0 -o random.h5
            """)

    @Option(help: "A diffusers UNet config.json.")
    var config: String

    @Option(parsing: .unconditional, help: "Seed of the random numbers.")
    var seed: UInt64 = 0

    @Option(name: .shortAndLong, help: "The model file to write.")
    var output = "random.h5"

    @Option(help: "Type of every tensor.")
    var dtype = ElementType.float32

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let architecture = try DenoiserRegistry.config(file: config)
        let inventory = try architecture.inventory()
        try Output.checkCanCreate(output, keeping: [config])
        let total = inventory.weightCount + inventory.otherParameters
        try Output.checkSpace(for: output, bytes: total * dtype.bytesPerElement)
        InterruptFlag.install()
        let progress = common.progress("initialising", total: total, unit: "parameters")
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
