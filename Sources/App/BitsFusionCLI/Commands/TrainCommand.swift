// SPDX-License-Identifier: Apache-2.0
// `bitsfusion train`: makes the full-precision models that the project ships, from a recipe in YAML.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract:
            "Train a full-precision shapes model, or the CLIP-proxy that scores it, from a YAML recipe.",
        discussion: """
            How the shipped models were made:

              bitsfusion train --config Configs/shapes.yaml -o phase1.h5
              bitsfusion train --config Configs/shapes-relations.yaml --from phase1.h5 -o teacher.h5 --dtype float16
              bitsfusion train --config Configs/clip-proxy.yaml -o clip-proxy.h5 --dtype float16

            The output is saved every `saveEvery` steps with all that a resumed run needs; --resume continues it to \
            the same result, bit for bit.
            """)

    @Option(help: "The recipe: with `unet` a shapes model, with `model` a CLIP-proxy.")
    var config: String

    @Option(name: .shortAndLong, help: "The checkpoint to write.")
    var output: String

    @Option(help: "A shapes model to go on from, instead of random weights.")
    var from: ModelReference?

    @Option(help: "Train this many steps instead of the recipe's.")
    var steps: Int?

    @Option(help: "Element type of the model's parameters in the file: float32 or float16.")
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
            throw CommandError(.usage, "--from is for shapes models; a CLIP-proxy starts from random weights")
        } else {
            try trainClipProxy()
        }
    }

    private func trainTeacher() throws {
        var recipe = try YAMLDocument.read(TeacherTrainingConfig.self, from: config)
        if let steps { recipe.training.steps = steps }
        let unetPath = URL(fileURLWithPath: recipe.unet, relativeTo: URL(fileURLWithPath: config)).path
        let unetConfig = try DenoiserRegistry.config(json: AtomicFile.read(unetPath))
        let trainer = try TeacherTrainer(
            recipe, unetConfig: unetConfig, from: from.map { (try $0.open(), try $0.fileReference().sha256) })
        let manifest = try Output.manifest(
            models: from.map { [$0] } ?? [], inputs: [config, unetPath], seed: recipe.training.seed)
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
        var recipe = try YAMLDocument.read(ClipProxyTrainingConfig.self, from: config)
        if let steps { recipe.training.steps = steps }
        let trainer = try ClipProxyTrainer(recipe)
        let manifest = try Output.manifest(inputs: [config], seed: recipe.training.seed)
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
                    "cosine: matched %.3f, mismatched %.3f, one word wrong %.3f; right one ranked first: %.1f %%",
                accuracy.matched.mean, accuracy.mismatched.mean, accuracy.corrupted.mean,
                100 * accuracy.ranking.mean))
    }
}
