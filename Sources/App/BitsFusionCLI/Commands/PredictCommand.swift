// SPDX-License-Identifier: Apache-2.0
// `bitsfusion predict`: one noise prediction, to check parity and speed against any other framework.

import ArgumentParser
import BitsFusion

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict",
        abstract: "Make one noise prediction from stored inputs.",
        discussion: """
            Inputs, under the names of diffusers: sample [B, C, H, W], timestep [B], encoder_hidden_states [B, T, D], \
            and for SDXL time_ids [B, 6] and text_embeds [B, P]. Output: noise_pred [B, C, H, W] in float32.

            Example:

              bitsfusion predict model.h5 --inputs in.safetensors -o out.safetensors --repeat 5
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(help: "A safetensors file with the inputs.")
    var inputs: String

    @Option(name: .shortAndLong, help: "The safetensors file to write.")
    var output = "out.safetensors"

    @Option(
        parsing: .unconditional,
        help: "Passes to run and time after the first one; prints their median, and what loading took.")
    var `repeat` = 0

    @Flag(help: "Print the time as JSON.")
    var json = false

    @OptionGroup var activations: ActivationArguments
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (0...1_000_000).contains(`repeat`) else {
            throw ValidationError("--repeat: expected 0 to 1000000, found \(`repeat`)")
        }
    }

    func run() throws {
        common.apply()
        let path = try model.path()
        let reader = try CheckpointReader(path)
        let config = try DenoiserRegistry.config(of: reader, named: model.name)
        try Output.checkCanCreate(output, keeping: [path, inputs])
        let inputs = try NoisePredictionInputs(contentsOf: inputs, config: config)
        let opening = ContinuousClock.now
        let pipeline = try naming(model.name) { try DiffusionPipeline(reader, precision: .keep16Bit) }
        let loadSeconds = opening.duration(to: .now) / .seconds(1)
        pipeline.freeze()
        activations.apply(to: pipeline)
        try inputs.checkCached(by: pipeline.denoiser)
        let prediction = try inputs.predict(pipeline.denoiser)
        guard prediction.isFinite else {
            throw CommandError(
                .badData,
                "\(model.name): noise_pred is not finite; the inputs are too large or training diverged")
        }
        try SafetensorsFile.write([("noise_pred", prediction)], to: output)
        guard `repeat` > 0 else { return }
        let progress = common.progress("predicting", total: `repeat`, unit: "passes")
        var seconds: [Double] = []
        for pass in 0..<`repeat` {
            let start = ContinuousClock.now
            _ = try inputs.predict(pipeline.denoiser)
            seconds.append(start.duration(to: .now) / .seconds(1))
            progress.update(pass + 1)
        }
        progress.endLine()
        let median = Self.median(seconds)
        if json {
            try Output.json(["seconds": median, "loadSeconds": loadSeconds])
        } else {
            Output.line(
                "\(Numbers.fixed(median, 6)) s, median of \(`repeat`) passes; loaded in "
                    + "\(Numbers.fixed(loadSeconds, 2)) s")
        }
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
