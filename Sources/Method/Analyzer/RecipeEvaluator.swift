// SPDX-License-Identifier: Apache-2.0
// Measures whole recipes as the candidates of a sensitivity table: the errors of single layers only approximately add
// up.

import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors

/// Measures recipes on a full-precision model, by images and by noise predictions.
public struct RecipeEvaluator {
    private let evaluator: CandidateEvaluator

    /// Computes the full-precision images and predictions.
    ///
    /// - Parameters:
    ///   - pipeline: the full-precision model.
    ///   - generation: the settings of the analysis that the recipes are from; its images are computed again.
    ///   - batchSize: images per pass.
    ///   - interruption: called between passes; it may throw to end the work.
    /// - Throws: `SensitivityError`; the model's errors for prompts, embeddings or sampler; what `interruption` throws.
    public init(
        pipeline: DiffusionPipeline, generation: AnalysisSettings, batchSize: Int = 16,
        interruption: @escaping () throws -> Void = {}
    ) throws {
        let calibration = try CalibrationSet(of: generation, pipeline: pipeline)
        guard let sampler = SamplerKind(rawValue: generation.sampler) else {
            throw SensitivityError.sampler(generation.sampler)
        }
        let drawn = generation.timesteps.count / max(calibration.seeds.count, 1)
        var options = SensitivityOptions(
            measures: generation.data == nil ? [.images, .noise] : [.noise],
            generation: GenerationOptions(
                sampler: sampler, steps: generation.steps, guidanceScale: Float(generation.guidanceScale),
                batchSize: batchSize, size: generation.size.map { SampleSize(square: $0) }))
        if drawn > 0 { options.timestepsPerImage = drawn }
        evaluator = try withoutGradients {
            try CandidateEvaluator(
                pipeline: pipeline, calibration: calibration, captionScore: nil, options: options,
                interruption: interruption)
        }
    }

    /// The scores of the model with every layer quantized by `recipe`, without training.
    ///
    /// - Parameters:
    ///   - recipe: the bits of each quantized layer.
    ///   - interruption: called between passes; it may throw to end the work.
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: `RecipeError` for a recipe of other layers; what sampling and `interruption` throw.
    public func measure(
        _ recipe: BitRecipe, interruption: @escaping () throws -> Void = {}
    ) throws -> SensitivityScores? {
        let denoiser = evaluator.denoiser
        try recipe.validate(against: denoiser.inventory())
        let layers = denoiser.quantizedLayers
        let originals = layers.map(\.weight)
        defer { for (layer, original) in zip(layers, originals) { layer.weight = original } }
        for layer in layers {
            try interruption()
            let path = LayerID(layer.path)
            guard let bits = recipe.layers[path] else { continue }
            layer.weight = quantizedParameter(
                of: layer, on: recipe.addingDeadZone(to: QuantizationGrid(bits), of: path))
        }
        return try evaluator.measureModel(interruption)
    }
}
