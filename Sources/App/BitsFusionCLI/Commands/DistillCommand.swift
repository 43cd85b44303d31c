// SPDX-License-Identifier: Apache-2.0
// `bitsfusion distill`: the paper's two training stages (BitsFusion, arXiv:2406.04333, section 4.2).

import ArgumentParser
import BitsFusion
import Foundation

struct DistillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Train a quantized student: stage 1 from its teacher, stage 2 on the noise itself.",
        discussion: """
            Stage 1 quantizes the model that recipe.json was made for and distils it from its own full-precision \
            weights, text dropping and block features included. Stage 2 goes on from stage1.h5.

              bitsfusion distill --stage 1                          # recipe.json -> stage1.h5
              bitsfusion distill --stage 2                          # stage1.h5 -> stage2.h5
              bitsfusion distill --stage 1 --model sd15.h5 --recipe Configs/recipes/sd15-bitsfusion-1.99.json \
            --data latents.h5
              bitsfusion distill --stage 1 --config paper --print-config > distill.yaml

            Shapes models draw their own data; any other model takes --data. Ctrl-C saves and stops; --resume goes on \
            to the same result, bit for bit.
            """)

    @Option(help: "1: distillation from the teacher; 2: noise prediction.")
    var stage: Int

    @Option(help: "Stage 1: bits per layer (default: recipe.json).")
    var recipe: String?

    @Option(help: "Stage 1: the full-precision model; default: the one that the recipe names.")
    var model: ModelReference?

    @Option(help: "Stage 2: the student to go on from (default: stage1.h5).")
    var student: String?

    @Option(name: .shortAndLong, help: "The student to write (default: stage1.h5 or stage2.h5).")
    var output: String?

    @Option(
        help: "Settings of both stages: a YAML file, paper, or shapes (default: shapes for shapes models, else paper)."
    )
    var config: String?

    @Flag(help: "Print the settings of both stages as YAML, for --config, and train nothing.")
    var printConfig = false

    @Option(
        help: "Stage 1: what the teacher's weights are held in, float32 or bfloat16 (default: as configured)."
    )
    var teacherDtype: ElementType?

    @Option(help: "Train this many steps instead of the configured number.")
    var steps: Int?

    @Option(help: "An HDF5 set of latents and text embeddings to train on (Docs/Formats.md).")
    var data: String?

    @Option(help: "Seed of data, noise and timesteps.")
    var seed: UInt64?

    @OptionGroup var saving: TrainingFileOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard DistillationStage(rawValue: stage) != nil else {
            throw ValidationError("--stage: expected 1 or 2, found \(stage)")
        }
        if let steps, steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
        if stage == 2, model != nil {
            throw ValidationError("--model is for stage 1; stage 2 takes --student")
        }
        if stage == 2, recipe != nil {
            throw ValidationError("--recipe is for stage 1; in stage 2 the student holds the bits")
        }
        if stage == 2, teacherDtype != nil {
            throw ValidationError("--teacher-dtype is for stage 1; stage 2 has no teacher")
        }
        if let teacherDtype, teacherDtype == .float16 {
            throw ValidationError("--teacher-dtype: expected float32 or bfloat16, found float16")
        }
        if stage == 1, student != nil {
            throw ValidationError("--student is for stage 2; stage 1 takes --model")
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let stage: DistillationStage = self.stage == 1 ? .one : .two
        if printConfig { return try printSettings(stage) }
        let output = self.output ?? (stage == .one ? "stage1.h5" : "stage2.h5")
        let start = try stage == .one ? stageOne() : stageTwo()
        let options = try settings(stage, for: start.student)[stage]
        let teacher = try start.teacher.map {
            try $0.open(precision: options.teacherDtype == .bfloat16 ? .bfloat16 : .float32)
        }
        let trainer = try DistillationTrainer(
            student: start.student, teacher: teacher, data: try trainingData(start.student, options),
            stage: stage,
            options: options)
        let manifest = try Output.manifest(
            models: start.models, inputs: start.inputs + [configFile, data].compactMap { $0 },
            seed: options.training.seed)
        try TrainingRun(
            loop: trainer.loop, output: output,
            inputs: start.models.map { try $0.path() } + start.inputs + [configFile, data].compactMap { $0 },
            label: "stage \(stage.rawValue)", saving: saving,
            common: common
        ).run(
            resume: trainer.resume(from:), train: trainer.run,
            write: { try trainer.write(to: output, manifest: manifest) })
    }

    private struct Start {
        var student: DiffusionPipeline
        var teacher: ModelReference?
        var models: [ModelReference] = []
        var inputs: [String] = []
    }

    private func stageOne() throws -> Start {
        let recipe = recipe ?? "recipe.json"
        let bits = try BitRecipe.named(recipe)
        let reference = try teacherReference(bits, of: recipe)
        let student = try reference.open()
        if student.recipe != nil {
            throw CommandError(
                .badData, "\(reference.name) is quantized already; stage 1 starts from full precision")
        }
        try student.denoiser.quantize(recipe: bits, initialization: .paper)
        return Start(
            student: student, teacher: reference, models: [reference], inputs: [BitRecipe.file(of: recipe)])
    }

    private func stageTwo() throws -> Start {
        let student = student ?? "stage1.h5"
        let checkpoint = try CheckpointReader(student, formats: [.student])
        if let state = try checkpoint.trainingState() {
            let progress = try TrainingLoop.savedProgress(json: Data(state.json.utf8))
            if !progress.isFinished {
                Output.warning(
                    "\(student) is unfinished: step \(progress.step) of \(progress.steps); its present weights are used"
                )
            }
        }
        return Start(student: try DiffusionPipeline(checkpoint), inputs: [student])
    }

    /// The model given, or the one that the recipe names, which must be unchanged since.
    private func teacherReference(_ bits: BitRecipe, of recipe: String) throws -> ModelReference {
        if let model { return model }
        guard let named = bits.model else {
            throw CommandError(.usage, "\(recipe) names no model; pass --model")
        }
        let reference = ModelReference(named.path)
        let found = try reference.fileReference()
        guard found.sha256 == named.sha256 else {
            throw CommandError(
                .badData,
                "\(named.path) has changed since \(recipe) was made (SHA-256 \(found.sha256.prefix(12))…, expected "
                    + "\(named.sha256.prefix(12))…); analyze and allocate again, or pass --model")
        }
        return reference
    }

    /// The settings of both stages, with the options of the command line in those of `stage`.
    private func settings(
        _ stage: DistillationStage, for pipeline: @autoclosure () throws -> DiffusionPipeline
    ) throws -> DistillationOptions {
        var settings =
            try configFile.map { try YAMLDocument.read(DistillationOptions.self, from: $0) }
            ?? config.flatMap { BundledWorld.namedDistillationOptions[$0] }
            ?? BundledWorld.distillationOptions(for: pipeline())
        if let steps { settings[stage].training.steps = steps }
        if let seed { settings[stage].training.seed = seed }
        if let teacherDtype { settings[stage].teacherDtype = teacherDtype }
        return settings
    }

    /// `--config`, unless it names built-in settings.
    private var configFile: String? {
        config.flatMap { BundledWorld.namedDistillationOptions[$0] == nil ? $0 : nil }
    }

    private func printSettings(_ stage: DistillationStage) throws {
        func pipeline() throws -> DiffusionPipeline {
            if stage == .two { return try DiffusionPipeline(contentsOf: student ?? "stage1.h5") }
            let recipe = recipe ?? "recipe.json"
            return try (model ?? teacherReference(.named(recipe), of: recipe)).open()
        }
        Output.line(
            """
            # Settings of `bitsfusion distill`: pass this file with --config.
            # momentDtype, teacherDtype: float32 or bfloat16. checkpointing: none or blocks. decay: cosine or constant.
            # Optional in `training`: microBatchSize (samples computed at once), averageDecay, maximumGradientNorm.
            """)
        Output.line(try YAMLDocument.text(settings(stage, for: pipeline())))
    }

    private func trainingData(_ student: DiffusionPipeline, _ options: StageOptions) throws
        -> any DistillationData
    {
        if let data { return try StoredDistillationData(contentsOf: data, for: student.denoiser.config) }
        let stage: DistillationStage = stage == 1 ? .one : .two
        guard let bundled = try BundledWorld.distillationData(for: student, stage: stage, seed: options.training.seed)
        else {
            throw CommandError(
                .usage,
                "this model has no bundled training data; pass --data with latents and text embeddings "
                    + "(Docs/Formats.md)")
        }
        return bundled
    }
}
