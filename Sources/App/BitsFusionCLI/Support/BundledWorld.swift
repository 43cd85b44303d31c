// SPDX-License-Identifier: Apache-2.0
// The one place where general commands meet the shapes world: bundled models, calibration prompts, training data and the
// scorer. Another world would be registered here.

import BitsFusion
import ShapesWorld

/// Models and data that come with the program, for commands that are not given files.
enum BundledWorld {
    /// Registers tokenizers; called once, before the first command.
    static func register() { ShapesWorldRegistration.register() }

    /// The path of the bundled model `name`; nil where `name` is not one, but a path.
    ///
    /// - Throws: `ShippedModelError` where it is not installed.
    static func model(_ name: String) throws -> String? {
        name == ShippedModels.teacherName ? try ShippedModels.teacher() : nil
    }

    /// Whether data and prompts for `pipeline` come with the program.
    static func covers(_ pipeline: DiffusionPipeline) -> Bool { pipeline.tokenizerName == ShapesTokenizer.name }

    /// Calibration prompts for an analysis that is given none.
    ///
    /// - Throws: as `CalibrationSet.init(promptCount:seed:pipeline:)`; `PipelineError.noTextEncoder`.
    static func calibrationSet(count: Int?, seed: UInt64, pipeline: DiffusionPipeline) throws -> CalibrationSet {
        try CalibrationSet(promptCount: count ?? PromptFamily.allCases.count, seed: seed, pipeline: pipeline)
    }

    /// Training data, rendered on the fly; nil for models that need files.
    ///
    /// The images differ from the evaluation's, and those of stage 2 from those of stage 1.
    static func distillationData(
        for pipeline: DiffusionPipeline, stage: DistillationStage, seed: UInt64
    ) throws -> (any DistillationData)? {
        guard covers(pipeline) else { return nil }
        return try ShapesDistillationData(.distillation(stage, seed: seed), pipeline: pipeline)
    }

    /// Distillation settings for a run that is given no configuration file.
    static func distillationOptions(for pipeline: DiffusionPipeline) -> DistillationOptions {
        covers(pipeline) ? .shapes : .paper
    }

    /// Distillation settings that have a name.
    static let namedDistillationOptions: [String: DistillationOptions] = ["paper": .paper, "shapes": .shapes]

    /// Opens the image-text scorer at `path`.
    ///
    /// - Throws: `CheckpointError`, `ConfigError`, `ParameterError`.
    static func scorer(_ path: String) throws -> any PromptScorer { try ClipProxy(file: path) }

    /// The path of the bundled scorer.
    ///
    /// - Throws: `ShippedModelError` where it is not installed.
    static func bundledScorer() throws -> String { try ShippedModels.clipProxy() }
}
