// SPDX-License-Identifier: Apache-2.0
// Whole recipes measured as the candidates of a sensitivity table were: what all layers do together, which is not quite the
// sum of what they do alone.

import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors

/// Measures recipes on a full-precision model, by images and by noise predictions.
public struct RecipeEvaluator {
    private let bench: CandidateEvaluator

    /// Makes the full-precision images and predictions.
    ///
    /// - Parameters:
    ///   - pipeline: the full-precision model.
    ///   - generation: the protocol of the table that the recipes are from; its images are made again.
    ///   - batchSize: images computed at once.
    ///   - interruption: called between passes; what it throws ends the work.
    /// - Throws: `SensitivityError`; what the model throws for prompts, embeddings or sampler; what `interruption` throws.
    public init(
        pipeline: DiffusionPipeline, generation: AnalysisSettings, batchSize: Int = 16,
        interruption: @escaping () throws -> Void = {}
    ) throws {
        let subjects = try CalibrationSet(of: generation, pipeline: pipeline)
        guard let sampler = SamplerKind(rawValue: generation.sampler) else {
            throw SensitivityError.sampler(generation.sampler)
        }
        let drawn = generation.timesteps.count / max(subjects.seeds.count, 1)
        var options = SensitivityOptions(
            measures: [.images, .noise],
            generation: GenerationOptions(
                sampler: sampler, steps: generation.steps, guidanceScale: Float(generation.guidanceScale),
                batchSize: batchSize, size: generation.size))
        if drawn > 0 { options.timestepsPerImage = drawn }
        bench = try withoutGradients {
            try CandidateEvaluator(
                pipeline: pipeline, subjects: subjects, captionScore: nil, options: options,
                interruption: interruption)
        }
    }

    /// What quantizing every layer by `recipe`, without training, does.
    ///
    /// - Parameters:
    ///   - recipe: a width for each quantizable layer.
    ///   - interruption: called between passes; what it throws ends the work.
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: `RecipeError` for a recipe of other layers; what sampling and `interruption` throw.
    public func measure(
        _ recipe: BitRecipe, interruption: @escaping () throws -> Void = {}
    ) throws -> SensitivityScores? {
        let denoiser = bench.denoiser
        try recipe.validate(against: denoiser.inventory())
        let layers = denoiser.quantizedLayers
        let originals = layers.map(\.weight)
        defer { for (layer, original) in zip(layers, originals) { layer.weight = original } }
        for layer in layers {
            try interruption()
            guard let width = recipe.layers[LayerID(layer.path)] else { continue }
            layer.weight = quantizedParameter(of: layer, at: width)
        }
        return try bench.measureModel(interruption)
    }
}
