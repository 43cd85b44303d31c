// SPDX-License-Identifier: Apache-2.0
// `bitsfusion predict`: one noise prediction, to compare results and speed with other frameworks.

import ArgumentParser
import BitsFusion

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict",
        abstract: "Run one noise prediction on stored inputs.",
        usage: "bitsfusion predict <model> --inputs <inputs> [--output <output>] [options]",
        discussion: """
            Reads a safetensors file with sample [B, C, H, W], timestep [B], \
            encoder_hidden_states [B, T, D], and for SDXL time_ids [B, 6] and text_embeds \
            [B, P]. Writes a safetensors file with noise_pred [B, C, H, W] in float32, to compare \
            results and speed with other frameworks.

            Examples:

              bitsfusion predict model.h5 --inputs in.safetensors -o out.safetensors
              bitsfusion predict packed.h5 --inputs in.safetensors --repeat 5 --json
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(help: "safetensors file with the inputs.")
    var inputs: String

    @Option(name: .shortAndLong, help: "safetensors file to write.")
    var output = "out.safetensors"

    @Option(
        parsing: .unconditional,
        help: "Number of timed passes after the first one; prints their median and the load time.")
    var `repeat` = 0

    @Flag(help: "Print times as JSON.")
    var json = false

    @OptionGroup var activations: ActivationOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (0...1_000_000).contains(`repeat`) else {
            throw ValidationError("--repeat: expected 0 to 1000000, found \(`repeat`)")
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let path = try model.path()
        let reader = try CheckpointReader(path)
        let config = try DenoiserRegistry.config(of: reader, named: model.name)
        try Output.checkCanCreate(output, keeping: [path, inputs])
        let inputs = try addingFile(inputs) { [inputs] in
            try NoisePredictionInputs(contentsOf: inputs, config: config)
        }
        let opening = ContinuousClock.now
        let pipeline = try addingFile(model.name) { try DiffusionPipeline(reader, precision: .keep16Bit) }
        let loadSeconds = Numbers.seconds(opening.duration(to: .now))
        try InterruptFlag.check()
        pipeline.freeze()
        activations.apply(to: pipeline)
        try inputs.checkCached(by: pipeline.denoiser)
        let prediction = try inputs.predict(pipeline.denoiser)
        try InterruptFlag.check()
        guard prediction.isFinite else {
            throw CommandError(
                .badData,
                "\(model.name): noise_pred: not finite; use smaller inputs, or a model whose training did not diverge")
        }
        try Output.tensors([("noise_pred", prediction)], to: output)
        guard `repeat` > 0 else { return }
        let progress = common.progress("predicting", total: `repeat`, unit: "passes")
        var seconds: [Double] = []
        for pass in 0..<`repeat` {
            let start = ContinuousClock.now
            _ = try inputs.predict(pipeline.denoiser)
            if InterruptFlag.isSet { throw Interrupted(note: "\(output) is complete, times are not") }
            seconds.append(Numbers.seconds(start.duration(to: .now)))
            progress.update(pass + 1)
        }
        progress.endLine()
        let median = Numbers.median(seconds)
        if json {
            try Output.json(["seconds": median, "loadSeconds": loadSeconds])
        } else {
            Output.line(
                "\(Numbers.fixed(median, 6)) s, median of \(`repeat`) passes; loaded in "
                    + "\(Numbers.fixed(loadSeconds, 2)) s")
        }
    }
}
