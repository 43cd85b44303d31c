// SPDX-License-Identifier: Apache-2.0
// `bitsfusion train`: trains the shipped full-precision models from settings in YAML.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct TrainCommand: CommandOfProcesses {
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
              bitsfusion train --config Configs/shapes-2.yaml --from phase1.h5 \\
                --dtype float16 -o phase2.h5
            """)

    @Option(help: "Settings in YAML.")
    var config: String

    @Option(name: .shortAndLong, help: "Checkpoint to write.")
    var output: String

    @Option(help: "Shapes model to start from (default: random weights).")
    var from: ModelReference?

    @OptionGroup var changes: TrainingSettingOptions

    @Option(help: "Element type of the parameters in the file.")
    var dtype: ElementType = .float32

    @OptionGroup(title: "Resuming and logging") var saving: TrainingFileOptions
    @OptionGroup(title: "Validation (shapes models)") var validation: ValidationOptions
    @OptionGroup(title: "Previews (shapes models)") var preview: PreviewOptions
    @OptionGroup(title: "Several processes") var sharding: ShardingOptions
    @OptionGroup(title: "Several processes") var processes: ProcessOptions
    @OptionGroup var common: CommonOptions

    func validate() throws { try preview.check(saving) }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        struct Kind: Decodable { var unet: String? }
        if try YAMLDocument.read(anyKeysIn: Kind.self, from: config).unet != nil {
            try Processes.start(processes, common)
            try trainTeacher()
        } else if from != nil {
            throw CommandError(
                .usage, "--from: not supported for a CLIP-proxy, which starts from random weights; remove it")
        } else if validation.validateEvery != nil || validation.validationSize != nil || preview.previewEvery != nil {
            throw CommandError(
                .usage, "--validate-every, --validation-size, --preview-every: not for a CLIP-proxy; remove them")
        } else {
            try Processes.checkIsAlone("the training of a CLIP-proxy")
            try trainClipProxy()
        }
    }

    private func trainTeacher() throws {
        var settings = try YAMLDocument.read(TeacherTrainingConfig.self, from: config)
        changes.apply(to: &settings.training)
        let unetPath = path(settings.unet)
        let proxyPath = try settings.clipProxy.map {
            $0 == ShippedModels.teacherName ? try ShippedModels.clipProxy() : path($0)
        }
        let inputs = [config, unetPath] + (proxyPath.map { [$0] } ?? [])
        let unetConfig = try DenoiserRegistry.config(file: unetPath)
        let trainer = try TeacherTrainer(
            settings, unetConfig: unetConfig, from: from.map { (try $0.open(), try $0.fileReference().sha256) },
            clipProxy: try proxyPath.map { (try ClipProxy(file: $0), try FileDigest.sha256(ofFile: $0)) },
            validationSize: validation.size(of: nil), communicator: Processes.communicator,
            shardsOptimizer: sharding.shardOptimizer)
        let samples = try preview.interval.map { interval in
            let images = try TrainingPreview(
                preview, of: trainer.model, named: config, size: nil, seed: settings.training.seed)
            return RecurringMeasurement(interval) { try trainer.withFinalWeights { _ in try images.image() } }
        }
        let manifest = try Output.manifest(
            models: from.map { [$0] } ?? [], inputs: [config, unetPath],
            named: proxyPath.map { [("clipProxy: \(settings.clipProxy ?? "")", $0)] } ?? [],
            seed: settings.training.seed)
        try Processes.agree(on: [("settings", try trainer.identityText()), ("inputs", "\(manifest.inputs)")])
        try TrainingRun(
            loop: trainer.loop, output: output,
            inputs: inputs + (try from.map { [try $0.path()] } ?? []) + preview.inputs, label: "training",
            saving: saving, common: common,
            observation: TrainingObservation(
                validation: validation.interval.map {
                    RecurringMeasurement($0) { trainer.validationLoss(shouldStop: { InterruptFlag.isSet }) }
                }, preview: samples)
        )
        .run(
            resume: trainer.resume(from:), train: trainer.run,
            write: { try trainer.write(to: output, manifest: manifest, as: dtype) })
    }

    /// The path of a file that the settings name relative to their own file.
    private func path(_ name: String) -> String {
        let folder = PathParts(config).folder
        return folder.isEmpty || name.hasPrefix("/") ? name : "\(folder)/\(name)"
    }

    private func trainClipProxy() throws {
        var settings = try YAMLDocument.read(ClipProxyTrainingConfig.self, from: config)
        changes.apply(to: &settings.training)
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
