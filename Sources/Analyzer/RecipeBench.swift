// SPDX-License-Identifier: Apache-2.0
// Whole recipes measured as the candidates of a sensitivity table were: what all layers do together, which is not quite the
// sum of what they do alone.

import Diffusion
import Evaluation
import Layers
import Pipelines
import Quantization
import Recipes
import Tensors

/// Measures recipes on a full-precision model, by pictures and by noise predictions.
public struct RecipeBench {
    private let bench: CandidateBench

    /// Makes the full-precision pictures and predictions.
    ///
    /// - Parameters:
    ///   - pipeline: the full-precision model.
    ///   - generation: the protocol of the table that the recipes are from; its pictures are made again.
    ///   - batchSize: pictures computed at once.
    ///   - interruption: called between passes; what it throws ends the work.
    /// - Throws: `SensitivityError`; what the model throws for prompts, embeddings or sampler; what `interruption` throws.
    public init(
        pipeline: DiffusionPipeline, generation: SensitivityProtocol, batchSize: Int = 16,
        interruption: @escaping () throws -> Void = {}
    ) throws {
        let subjects = try AnalysisSubjects(of: generation, pipeline: pipeline)
        guard let sampler = SamplerKind(rawValue: generation.sampler) else {
            throw SensitivityError.sampler(generation.sampler)
        }
        let drawn = generation.timesteps.count / max(subjects.seeds.count, 1)
        var options = SensitivityOptions(
            measures: [.images, .noise],
            generation: GenerationOptions(
                sampler: sampler, steps: generation.steps, guidanceScale: Float(generation.guidanceScale),
                batchSize: batchSize, size: generation.size))
        if drawn > 0 { options.timestepsPerPicture = drawn }
        bench = try withoutGradients {
            try CandidateBench(
                pipeline: pipeline, subjects: subjects, captionScore: nil, options: options,
                interruption: interruption)
        }
    }

    /// What quantizing every layer by `recipe`, without training, does.
    ///
    /// - Parameters:
    ///   - recipe: a width for each quantizable layer.
    ///   - interruption: called between passes; what it throws ends the work.
    /// - Returns: nil where pictures or predictions are not finite.
    /// - Throws: `RecipeError` for a recipe of other layers; what sampling and `interruption` throw.
    public func measure(
        _ recipe: BitRecipe, interruption: @escaping () throws -> Void = {}
    ) throws -> SensitivityMeasure? {
        let unet = bench.pipeline.unet
        try recipe.validate(against: ModelInventory(unet: unet.config))
        let layers = unet.quantizableLayers
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
