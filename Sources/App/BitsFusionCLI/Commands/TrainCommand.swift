// SPDX-License-Identifier: Apache-2.0
// `bitsfusion train`: trains the shipped full-precision models from settings in YAML.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a shapes model or the CLIP-proxy that scores it.",
        usage: "bitsfusion train --config <config> --output <output> [options]",
        discussion: """
            Reads settings in YAML. Writes a full-precision shapes model (settings with the key \
            `unet`) or a CLIP-proxy (settings with the key `model`). The output is saved every \
            `saveEvery` steps with the training state; --resume continues it to the same result, \
            bit for bit.

            Examples:

              bitsfusion train --config Configs/shapes.yaml -o phase1.h5
              bitsfusion train --config Configs/shapes-relations.yaml --from phase1.h5 \\
                --dtype float16 -o teacher.h5
            """)

    @Option(help: "Settings in YAML.")
    var config: String

    @Option(name: .shortAndLong, help: "Checkpoint to write.")
    var output: String

    @Option(help: "Shapes model to start from (default: random weights).")
    var from: ModelReference?

    @Option(help: "Training steps (default: as in the settings).")
    var steps: Int?

    @Option(help: "Element type of the parameters in the file.")
    var dtype: ElementType = .float32

    @OptionGroup var saving: TrainingFileOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if let steps, steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        struct Kind: Decodable { var unet: String? }
        if try YAMLDocument.read(anyKeysIn: Kind.self, from: config).unet != nil {
            try trainTeacher()
        } else if from != nil {
            throw CommandError(
                .usage, "--from: not supported for a CLIP-proxy, which starts from random weights; remove it")
        } else {
            try trainClipProxy()
        }
    }

    private func trainTeacher() throws {
        var settings = try YAMLDocument.read(TeacherTrainingConfig.self, from: config)
        if let steps { settings.training.steps = steps }
        let unetPath = URL(fileURLWithPath: settings.unet, relativeTo: URL(fileURLWithPath: config)).path
        let unetConfig = try DenoiserRegistry.config(file: unetPath)
        let trainer = try TeacherTrainer(
            settings, unetConfig: unetConfig, from: from.map { (try $0.open(), try $0.fileReference().sha256) })
        let manifest = try Output.manifest(
            models: from.map { [$0] } ?? [], inputs: [config, unetPath], seed: settings.training.seed)
        try TrainingRun(
            loop: trainer.loop, output: output,
            inputs: [config, unetPath] + (try from.map { [try $0.path()] } ?? []), label: "training",
            saving: saving, common: common
        )
        .run(
            resume: trainer.resume(from:), train: trainer.run,
            write: { try trainer.write(to: output, manifest: manifest, as: dtype) })
    }

    private func trainClipProxy() throws {
        var settings = try YAMLDocument.read(ClipProxyTrainingConfig.self, from: config)
        if let steps { settings.training.steps = steps }
        let trainer = try ClipProxyTrainer(settings)
        let manifest = try Output.manifest(inputs: [config], seed: settings.training.seed)
        try TrainingRun(
            loop: trainer.loop, output: output, inputs: [config], label: "training", saving: saving,
            common: common
        )
        .run(
            resume: trainer.resume(from:), train: trainer.run,
            write: { try trainer.write(to: output, manifest: manifest, as: dtype) })
        let accuracy = trainer.withFinalWeights {
            ClipProxyAccuracy(of: $0, on: ShapesDataset(seed: .max), samples: 500)
        }
        Output.line(
            String(
                format:
                    "cosine: matched %.3f, mismatched %.3f, one word changed %.3f; correct one ranked first: %.1f %%",
                accuracy.matched.mean, accuracy.mismatched.mean, accuracy.corrupted.mean,
                100 * accuracy.ranking.mean))
    }
}
