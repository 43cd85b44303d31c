// SPDX-License-Identifier: Apache-2.0
// Calibration prompts of the shapes world, for analyses that are given none. K images.

import BitsFusion

extension CalibrationSet {
    /// Prompts of the six families in turn.
    ///
    /// - Parameters:
    ///   - count: K.
    ///   - seed: chooses captions and noise. The default's prompts differ from the evaluation's, so that a recipe is not
    ///     fitted to the prompts that evaluate it.
    ///   - pipeline: a model with the shapes world's tokenizer.
    /// - Throws: `SensitivityError.images` for K < 1; `PipelineError`, `TokenizerError` for other models.
    public init(promptCount count: Int, seed: UInt64 = 0, pipeline: DiffusionPipeline) throws {
        guard count > 0 else { throw SensitivityError.images(requested: count, available: nil) }
        let families = PromptFamily.allCases
        let perFamily = (count + families.count - 1) / families.count
        let suite = PromptSuite(promptsPerFamily: perFamily, seed: seed)
        let chosen = (0..<count).map { index in
            suite.prompts[(index % families.count) * perFamily + index / families.count]
        }
        try self.init(prompts: chosen.map(\.caption.text), seeds: chosen.map(\.seed), pipeline: pipeline)
    }
}
