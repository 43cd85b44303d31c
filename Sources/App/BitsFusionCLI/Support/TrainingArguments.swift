// SPDX-License-Identifier: Apache-2.0
// Options that the training commands share: changed settings, validation and previews.

import ArgumentParser
import BitsFusion

/// Options that replace values of the settings.
struct TrainingSettingOptions: ParsableArguments {
    @Option(parsing: .unconditional, help: "Training steps (default: as in the settings).")
    var steps: Int?

    @Option(
        parsing: .unconditional,
        help: "Samples of a step (default: as in the settings); microBatchSize of them are computed at once.")
    var batchSize: Int?

    @Option(
        parsing: .unconditional,
        help: """
            Learning rate of weights, norms and biases (default: as in the settings). Those of scales, \
            scaleLearningRate, stay as in the settings.
            """)
    var learningRate: Float?

    func validate() throws {
        for (option, value) in [("--steps", steps), ("--batch-size", batchSize)] {
            if let value, value < 1 { throw ValidationError("\(option): expected 1 or more, found \(value)") }
        }
        if let learningRate, !(learningRate > 0 && learningRate.isFinite) {
            throw ValidationError("--learning-rate: expected a positive number, found \(learningRate)")
        }
    }

    /// Replaces the values that were given.
    func apply(to options: inout TrainingOptions) {
        if let steps { options.steps = steps }
        if let batchSize { options.batchSize = batchSize }
        if let learningRate { options.learningRate = learningRate }
    }
}

/// Something that is done before the first step, every few steps, and after the last one.
struct StepInterval {
    let every: Int

    /// Whether it is due when `done` of `steps` steps are done.
    func isDue(_ done: Int, of steps: Int) -> Bool { done % every == 0 || done == steps }

    /// How often it is done in a run of `steps` steps.
    func count(in steps: Int) -> Int { 1 + (steps + every - 1) / every }
}

/// Options of validation.
struct ValidationOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            Measure the loss on held-out samples before the first step, every <n> steps and after the last one, with \
            the same noise and timesteps each time.
            """, valueName: "n"))
    var validateEvery: Int?

    @Option(
        parsing: .unconditional,
        help: """
            Number of held-out samples, which the seed chooses and which are not trained on (default with \
            --validate-every: 32, or a twentieth of a smaller set).
            """)
    var validationSize: Int?

    func validate() throws {
        for (option, value) in [("--validate-every", validateEvery), ("--validation-size", validationSize)] {
            if let value, value < 1 { throw ValidationError("\(option): expected 1 or more, found \(value)") }
        }
    }

    var interval: StepInterval? { validateEvery.map { StepInterval(every: $0) } }

    /// The number of samples to hold out of a set of `sampleCount`, nil for data that are generated; 0 for none.
    ///
    /// - Throws: `CommandError`.
    func size(of sampleCount: Int?) throws -> Int {
        guard validateEvery != nil || validationSize != nil else { return 0 }
        let size = validationSize ?? defaultValidationSize(sampleCount: sampleCount)
        if let sampleCount, size >= sampleCount {
            throw CommandError(
                .usage,
                "--validation-size: expected less than the number of samples of the set, \(sampleCount), found \(size)"
                    + "; train on a larger set, or without --validate-every")
        }
        if sampleCount == nil, validateEvery == nil {
            throw CommandError(
                .usage,
                "--validation-size: no effect on training data that are generated; add --validate-every or remove it")
        }
        return size
    }
}

/// Options of previews.
struct PreviewOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            Sample images of the same prompts and seeds before the first step, every <n> steps and after the last one, \
            and write them to --logging-dir and TensorBoard.
            """, valueName: "n"))
    var previewEvery: Int?

    @Option(help: "Prompts of the previews, one per line (default for shapes models: one of each kind).")
    var previewPrompts: String?

    @Option(help: "safetensors file of embeddings in place of prompts, as for `sample`.")
    var previewEmbeddings: String?

    @Option(parsing: .unconditional, help: "Sampling steps of the previews (default: 20).")
    var previewSteps: Int?

    func validate() throws {
        for (option, value) in [("--preview-every", previewEvery), ("--preview-steps", previewSteps)] {
            if let value, value < 1 { throw ValidationError("\(option): expected 1 or more, found \(value)") }
        }
        let others = [
            ("--preview-prompts", previewPrompts != nil), ("--preview-embeddings", previewEmbeddings != nil),
            ("--preview-steps", previewSteps != nil),
        ]
        if previewEvery == nil, let (option, _) = others.first(where: \.1) {
            throw ValidationError("\(option): needs --preview-every; add it")
        }
        if previewPrompts != nil, previewEmbeddings != nil {
            throw ValidationError("--preview-prompts and --preview-embeddings exclude each other; remove one")
        }
    }

    /// - Throws: `ValidationError` for previews without a folder to write to.
    func check(_ saving: TrainingFileOptions) throws {
        if previewEvery != nil, saving.loggingDir == nil {
            throw ValidationError("--preview-every: needs --logging-dir, the folder to write to; add it")
        }
    }

    var interval: StepInterval? { previewEvery.map { StepInterval(every: $0) } }

    /// Files that are read.
    var inputs: [String] { [previewPrompts, previewEmbeddings].compactMap { $0 } }
}
