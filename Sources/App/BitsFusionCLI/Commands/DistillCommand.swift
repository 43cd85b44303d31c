// SPDX-License-Identifier: Apache-2.0
// `bitsfusion distill`: the paper's two training stages (BitsFusion, arXiv:2406.04333, section 4.2).

import ArgumentParser
import BitsFusion
import Foundation

struct DistillCommand: CommandOfProcesses {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Train a quantized student in two stages.",
        usage: "bitsfusion distill --stage <stage> [options]",
        discussion: """
            Stage 1 reads recipe.json and the full-precision model that it names, quantizes the model and trains it \
            on the noise predictions and block features of the full-precision teacher, with text dropping. Stage 2 \
            reads a student of stage 1 and trains it on the noise-prediction loss. Each stage writes a student for \
            `bitsfusion pack`.

            With --student, stage 1 continues from a student with other bits, for example to reach 1.99 bits in \
            several steps. With --model, stage 2 trains a full-precision model instead of a student, as a baseline \
            for students; it writes a model.

            Shapes models generate their training data; other models require --data. Ctrl-C saves and stops; --resume \
            continues to the same result, bit for bit. --resume with more --steps trains a finished student further, \
            unless its learning rate depends on the number of steps (decay: cosine without horizon).

            --validate-every and --preview-every do not change the training, except that the held-out samples of \
            --data are not trained on; --resume needs the same --validation-size. The loss on the progress line is \
            the mean of up to 50 steps.

            Examples:

              bitsfusion distill --stage 1
              bitsfusion distill --stage 2 --student stage1.h5 -o stage2.h5
              bitsfusion distill --stage 1 --model sd15.h5 --data set.h5 \\
                --recipe Configs/recipes/sd15-bitsfusion-1.99.json
              bitsfusion distill --stage 1 --model sd15.h5 --data latents.h5 \\
                --config Configs/distill-sd15-small.yaml --dry-run
              bitsfusion distill --stage 1 --logging-dir log --validate-every 50 \\
                --preview-every 100
              bitsfusion distill --stage 1 --student 3bits.h5 --recipe 2bits.json \\
                -o 2bits.h5
              bitsfusion distill --stage 2 --model shapes -o finetuned.h5
              bitsfusion distill --stage 1 --config paper --print-config > distill.yaml
            """)

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Models") var start: StartOptions
    @OptionGroup(title: "Stage 1") var first: FirstStageOptions
    @OptionGroup(title: "Resuming and logging") var saving: TrainingFileOptions
    @OptionGroup(title: "Validation") var validation: ValidationOptions
    @OptionGroup(title: "Previews") var preview: PreviewOptions
    @OptionGroup(title: "Several processes") var sharding: ShardingOptions
    @OptionGroup(title: "Several processes") var processes: ProcessOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(help: "1: distillation from the teacher; 2: noise prediction. Required, but not with --print-config.")
        var stage: Int?

        @Option(name: .shortAndLong, help: "Student or model to write (default: stage1.h5 or stage2.h5).")
        var output: String?

        @Option(
            help: "Training settings: a YAML file, paper, or shapes (default: shapes for shapes models, else paper).")
        var config: String?

        @Flag(help: "Print the training settings as YAML, for --config, and stop.")
        var printConfig = false

        @Option(
            help: """
                Set to train on, made by `bitsfusion dataset`, or an HDF5 file with latents and text embeddings \
                (Docs/Formats.md). Condition channels, such as an inpainting model's mask and image, get no noise.
                """)
        var data: String?

        @OptionGroup var changes: TrainingSettingOptions

        @Option(help: "Seed of data, noise and timesteps (default: as in the settings).")
        var seed: UInt64?

        @Flag(
            help: """
                Measure some micro-batches and an update, print the expected time, memory and file sizes of the run, \
                and write nothing.
                """)
        var dryRun = false

        func validate() throws {
            guard let stage else {
                if printConfig { return }
                throw ValidationError("--stage: missing; pass --stage 1 or --stage 2")
            }
            guard DistillationStage(rawValue: stage) != nil else {
                throw ValidationError("--stage: expected 1 or 2, found \(stage)")
            }
            if dryRun, printConfig { throw ValidationError("--dry-run and --print-config exclude each other") }
        }
    }

    struct StartOptions: ParsableArguments {
        @Option(
            help: """
                Full-precision model. Stage 1: the teacher (default: the one that the recipe names). Stage 2: the \
                model to train in place of a student.
                """)
        var model: ModelReference?

        @Option(
            help: """
                Student to train. Stage 1: a student whose bits and dead zones are changed to those of the recipe; \
                layers with unchanged bits, dead zone and --grid keep their scales (default: the full-precision \
                model). Stage 2: a student of stage 1 (default: stage1.h5).
                """)
        var student: String?
    }

    struct FirstStageOptions: ParsableArguments {
        @Option(help: "Recipe with the bits of every layer (default: recipe.json).")
        var recipe: String?

        @Option(name: .customLong("init"), help: "Initialization of the scales (default: alternating).")
        var initialization: ScaleInitialization?

        @Option(
            help: """
                Levels of a layer with b bits. balanced: 2^b + 1; lsq: 2^b, for comparisons, as such students cannot \
                be packed (default: balanced).
                """)
        var grid: GridKind?

        @Option(help: "Element type of the teacher's weights: float32 or bfloat16 (default: as in the settings).")
        var teacherDtype: ElementType?

        func validate() throws {
            if let teacherDtype, teacherDtype == .float16 {
                throw ValidationError("--teacher-dtype: expected float32 or bfloat16, found float16")
            }
        }
    }

    func validate() throws {
        if main.stage == 2, start.model != nil, start.student != nil {
            throw ValidationError("--model and --student exclude each other in stage 2")
        }
        if main.stage == 2, first.recipe != nil {
            throw ValidationError("--recipe: not used in stage 2, where the student has its bits; remove it")
        }
        if main.stage == 2, first.initialization != nil || first.grid != nil {
            throw ValidationError("--init, --grid: not used in stage 2, where the student has its scales; remove them")
        }
        if main.stage == 2, first.teacherDtype != nil {
            throw ValidationError("--teacher-dtype: not used in stage 2, which has no teacher; remove it")
        }
        if main.dryRun, saving.resume || saving.overwrite {
            throw ValidationError("--dry-run: writes no file; remove --resume and --overwrite")
        }
        try preview.check(saving)
    }

    func run() throws {
        let begin = ContinuousClock.now
        common.apply()
        InterruptFlag.install()
        let stage: DistillationStage = main.stage == 2 ? .two : .one
        if main.printConfig || main.dryRun { try Processes.checkIsAlone("distill --print-config or --dry-run") }
        if main.printConfig { return try printSettings(stage) }
        try Processes.start(processes, common)
        let settingFiles = [configFile, main.data].compactMap { $0 }
        let output = main.output ?? (stage == .one ? "stage1.h5" : "stage2.h5")
        let start = try stage == .one ? stageOne() : stageTwo()
        let options = try settings(stage, for: start.student)[stage]
        let teacher = try start.teacher.map {
            try $0.openForTraining(
                precision: options.teacherDtype == .bfloat16 ? .bfloat16 : .float32, denoiserOnly: true)
        }
        let data = try trainingData(start.student, options)
        let trainer = try addingFile(start.name) {
            try DistillationTrainer(
                student: start.student, teacher: teacher, data: data, stage: stage, options: options,
                validationSize: validation.size(of: data.sampleCount), communicator: Processes.communicator,
                shardsOptimizer: sharding.shardOptimizer)
        }
        let previews = try preview.interval.map { interval in
            let images = try TrainingPreview(
                preview, of: start.student, named: start.name, size: (data as? StoredDistillationData)?.sampleSize,
                seed: options.training.seed)
            return (interval: interval, images: images)
        }
        if main.dryRun {
            try DistillationForecast(
                trainer, preparation: Numbers.seconds(begin.duration(to: .now)), validation: validation.interval,
                previews: previews
            ).print(output: output)
            return
        }
        let manifest = try Output.manifest(
            models: start.models, inputs: start.inputs + settingFiles,
            seed: options.training.seed)
        try Processes.agree(on: [("settings", try trainer.identityText()), ("inputs", "\(manifest.inputs)")])
        try teacher?.denoiser.store.shareWeights(between: Processes.communicator)
        try TrainingRun(
            loop: trainer.loop, output: output,
            inputs: start.models.map { try $0.path() } + start.inputs + settingFiles + preview.inputs,
            label: "stage \(stage.rawValue)", saving: saving, common: common,
            observation: observation(of: trainer, previews)
        ).run(
            resume: trainer.resume(from:), train: trainer.run,
            write: { try trainer.write(to: output, manifest: manifest) })
    }

    private func observation(
        of trainer: DistillationTrainer, _ previews: (interval: StepInterval, images: TrainingPreview)?
    ) -> TrainingObservation {
        TrainingObservation(
            validation: validation.interval.map {
                RecurringMeasurement($0) { try trainer.validationLoss(shouldStop: { InterruptFlag.isSet }) }
            },
            preview: previews.map { previews in
                RecurringMeasurement(previews.interval) {
                    try trainer.withFinalWeights { _ in try previews.images.image() }
                }
            },
            quantizedWeights: trainer.model.denoiser.quantizedLayers.compactMap { $0.weight as? FakeQuantizedWeight })
    }

    private struct Start {
        /// The file of the model or student.
        var name: String
        var student: DiffusionPipeline
        var teacher: ModelReference?
        var models: [ModelReference] = []
        var inputs: [String] = []
    }

    private func stageOne() throws -> Start {
        let recipe = first.recipe ?? "recipe.json"
        let bits = try BitRecipe.named(recipe)
        let reference = try teacherReference(bits, of: recipe)
        let teacher = try fullPrecision(reference)
        let student = try start.student.map { try openedStudent($0, of: teacher, reference) } ?? teacher
        try addingFile(recipe) {
            try student.quantize(
                recipe: bits, initialization: first.initialization ?? .paper, grid: first.grid ?? .balanced)
        }
        return Start(
            name: start.student ?? reference.name, student: student, teacher: reference, models: [reference],
            inputs: [BitRecipe.file(of: recipe)] + [start.student].compactMap { $0 })
    }

    private func stageTwo() throws -> Start {
        if let model = start.model {
            return Start(name: model.name, student: try fullPrecision(model), models: [model])
        }
        let student = start.student ?? "stage1.h5"
        return Start(name: student, student: try openedStudent(student), inputs: [student])
    }

    private func fullPrecision(_ reference: ModelReference) throws -> DiffusionPipeline {
        let pipeline = try reference.openForTraining()
        if pipeline.recipe != nil {
            throw CommandError(
                .badData,
                "\(reference.name): already quantized; expected a full-precision model; pass a student with --student")
        }
        return pipeline
    }

    /// A student of the teacher's architecture.
    private func openedStudent(
        _ student: String, of teacher: DiffusionPipeline, _ reference: ModelReference
    ) throws -> DiffusionPipeline {
        let pipeline = try openedStudent(student)
        guard try pipeline.layerInventory() == teacher.layerInventory() else {
            throw CommandError(
                .badData, "\(student): its layers differ from those of \(reference.name); pass a student of this model")
        }
        return pipeline
    }

    private func openedStudent(_ student: String) throws -> DiffusionPipeline {
        let checkpoint = try CheckpointReader(student, formats: [.student])
        if let state = try checkpoint.trainingState() {
            let progress = try TrainingLoop.savedProgress(json: Data(state.json.utf8))
            if !progress.isFinished {
                Output.warning(
                    "\(student): unfinished, step \(progress.step) of \(progress.steps); its current weights are used"
                )
            }
        }
        return try addingFile(student) { try DiffusionPipeline(checkpoint, otherPrecision: .keep16Bit) }
    }

    /// The given model, or the one that the recipe names, which must be unchanged.
    private func teacherReference(_ bits: BitRecipe, of recipe: String) throws -> ModelReference {
        if let model = start.model { return model }
        guard let named = bits.model else {
            throw CommandError(.usage, "\(recipe): model: missing; pass --model")
        }
        let reference = ModelReference(named.path)
        let found = try reference.fileReference()
        guard found.sha256 == named.sha256 else {
            throw CommandError(
                .badData,
                "\(named.path): differs from the model of \(recipe): expected SHA-256 \(named.sha256.prefix(12))..., "
                    + "found \(found.sha256.prefix(12))...; analyze and allocate again, or pass --model")
        }
        return reference
    }

    /// The settings of both stages, with the options of the command line in those of `stage`.
    private func settings(
        _ stage: DistillationStage, for pipeline: @autoclosure () throws -> DiffusionPipeline
    ) throws -> DistillationOptions {
        var settings =
            try configFile.map { try YAMLDocument.read(DistillationOptions.self, from: $0) }
            ?? main.config.flatMap { BundledWorld.namedDistillationOptions[$0] }
            ?? BundledWorld.distillationOptions(for: pipeline())
        main.changes.apply(to: &settings[stage].training)
        if let seed = main.seed { settings[stage].training.seed = seed }
        if let teacherDtype = first.teacherDtype { settings[stage].teacherDtype = teacherDtype }
        return settings
    }

    /// `--config`, unless it names built-in settings.
    private var configFile: String? {
        main.config.flatMap { BundledWorld.namedDistillationOptions[$0] == nil ? $0 : nil }
    }

    private func printSettings(_ stage: DistillationStage) throws {
        func pipeline() throws -> DiffusionPipeline {
            if let model = start.model { return try model.open() }
            if stage == .two || start.student != nil {
                return try DiffusionPipeline(contentsOf: start.student ?? "stage1.h5")
            }
            let recipe = first.recipe ?? "recipe.json"
            return try teacherReference(.named(recipe), of: recipe).open()
        }
        Output.line(
            """
            # Settings of `bitsfusion distill`: pass this file with --config.
            # momentDtype, teacherDtype: float32 or bfloat16. checkpointing: none or blocks. decay: cosine or constant.
            # featureLoss (stage1): absolute, as in the paper, or relative to the teacher's features.
            # Optional in `training`: microBatchSize (samples computed at once), averageDecay, maximumGradientNorm,
            # precision (of products of linear layers: float32 or bfloat16).
            """)
        Output.line(try YAMLDocument.text(settings(stage, for: pipeline())))
    }

    private func trainingData(_ student: DiffusionPipeline, _ options: StageOptions) throws
        -> any DistillationData
    {
        if let path = main.data {
            let config = student.denoiser.config
            if try LatentSetReader.isLatentSet(path) {
                let training = options.training
                let encoder = try addingFile(path) { try PromptEncoder(student) }
                return try LatentSetData(
                    LatentSetReader(path), for: config, encoder: encoder,
                    options: LatentSetOptions(
                        batchSize: training.microBatchSize ?? training.batchSize, stepSize: training.batchSize,
                        seed: training.seed,
                        process: (Processes.communicator.rank, Processes.communicator.size)))
            }
            let data = try StoredDistillationData(contentsOf: path, for: config)
            for warning in try data.warnings(for: config) { Output.warning("\(path): \(warning)") }
            return data
        }
        let stage: DistillationStage = main.stage == 1 ? .one : .two
        guard let bundled = try BundledWorld.distillationData(for: student, stage: stage, seed: options.training.seed)
        else {
            throw CommandError(
                .usage,
                "--data: missing, but required for models without bundled training data; make a set with `bitsfusion "
                    + "dataset`")
        }
        return bundled
    }
}
