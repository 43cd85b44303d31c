// SPDX-License-Identifier: Apache-2.0
// The bundled data set for general commands: models, calibration prompts, training data and scorer of the shapes
// world. All other files that import ShapesWorld are the commands `train`, `demo` and `evaluate`.

import BitsFusion
import ShapesWorld

/// Bundled models and data, the defaults of commands without input files.
enum BundledWorld {
    /// Registers tokenizers; called once, before the first command.
    static func register() { ShapesWorldRegistration.register() }

    /// The path of the bundled model `name`; nil if `name` is a path.
    ///
    /// - Throws: `ShippedModelError` if it is not installed.
    static func model(_ name: String) throws -> String? {
        name == ShippedModels.teacherName ? try ShippedModels.teacher() : nil
    }

    /// Whether there are bundled data and prompts for `pipeline`.
    static func covers(_ pipeline: DiffusionPipeline) -> Bool { pipeline.tokenizerName == ShapesTokenizer.name }

    /// The default calibration prompts of an analysis.
    ///
    /// - Throws: as `CalibrationSet.init(promptCount:seed:pipeline:)`; `PipelineError.noTextEncoder`.
    static func calibrationSet(count: Int?, seed: UInt64, pipeline: DiffusionPipeline) throws -> CalibrationSet {
        try CalibrationSet(promptCount: count ?? PromptFamily.allCases.count, seed: seed, pipeline: pipeline)
    }

    /// Training data that is rendered on the fly; nil for models without bundled data.
    ///
    /// Its images differ from those of evaluations, and those of stage 2 from those of stage 1.
    static func distillationData(
        for pipeline: DiffusionPipeline, stage: DistillationStage, seed: UInt64
    ) throws -> (any DistillationData)? {
        guard covers(pipeline) else { return nil }
        return try ShapesDistillationData(.distillation(stage, seed: seed), pipeline: pipeline)
    }

    /// The default prompts of previews, one of each family; nil for models without bundled prompts.
    static func previewPrompts(for pipeline: DiffusionPipeline) -> [String]? {
        guard covers(pipeline) else { return nil }
        return PromptSuite(promptsPerFamily: 1, seed: 0).prompts.map(\.caption.text)
    }

    /// Distillation settings of a run without a configuration file.
    static func distillationOptions(for pipeline: DiffusionPipeline) -> DistillationOptions {
        covers(pipeline) ? .shapes : .paper
    }

    /// Distillation settings with a name.
    static let namedDistillationOptions: [String: DistillationOptions] = ["paper": .paper, "shapes": .shapes]

    /// Opens the image-text scorer in the file `path`, a CLIP-proxy or a CLIP model.
    ///
    /// - Throws: as `ClipProxy.init(_:)` and `ImageTextEncoder.init(_:precision:)`.
    static func scorer(_ path: String) throws -> any PromptScorer {
        let reader = try CheckpointReader(path, formats: [.clip])
        guard reader.header.architecture == CLIPConfig.architecture else { return try ClipProxy(reader) }
        return try addingFile(path) { try ImageTextEncoder(reader) }
    }

    /// The path of the bundled scorer.
    ///
    /// - Throws: `ShippedModelError` if it is not installed.
    static func bundledScorer() throws -> String { try ShippedModels.clipProxy() }
}
