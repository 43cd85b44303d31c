// SPDX-License-Identifier: Apache-2.0
// Everything that candidates are measured with, made once: the full-precision images and predictions, and the inputs
// that they are compared on.

import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Tensors

/// Measures one candidate after another on a frozen model.
struct CandidateEvaluator {
    let pipeline: DiffusionPipeline
    let denoiser: any StagedDenoiser
    let subjects: CalibrationSet
    let options: SensitivityOptions
    /// For `images`.
    let comparison: ImageComparison?
    /// Seconds that the reference images took.
    let imageSeconds: Double
    /// For `noise` and `fisher`.
    let noise: NoisePredictionSensitivity?
    /// Where candidates are fine-tuned.
    let tuning: LayerTuning?

    /// Makes the references; `interruption` is called between passes, and what it throws ends the work.
    ///
    /// - Throws: `SensitivityError.notStaged`, `.referenceNotFinite`; what sampling and `interruption` throw.
    init(
        pipeline: DiffusionPipeline, subjects: CalibrationSet, captionScore: CaptionScore?,
        options: SensitivityOptions, interruption: @escaping () throws -> Void
    ) throws {
        (self.pipeline, self.subjects, self.options) = (pipeline, subjects, options)
        let denoiser = try pipeline.stagedDenoiser()
        self.denoiser = denoiser
        let schedule = try pipeline.noiseSchedule()
        let clock = ContinuousClock()
        let start = clock.now
        let images = try Self.images(pipeline, subjects, options, interruption)
        imageSeconds = (clock.now - start) / .seconds(1)
        let comparison = try ImageComparison(
            reference: images, isLatent: denoiser.config.isLatent, captionScore: captionScore)
        self.comparison = options.measures.contains(.images) ? comparison : nil
        let usesPredictions = !options.measures.isDisjoint(with: [.noise, .fisher])
        func passes(stream: UInt64, guidanceScale: Float, share: Int) throws -> StagedPredictions {
            let inputs = PredictionInputs.noised(
                images, subjects: subjects, timestepsPerImage: options.timestepsPerImage,
                stream: stream,
                guidanceScale: guidanceScale, schedule: schedule,
                batchSize: PredictionInputs.batchSize(for: pipeline, size: options.generation.size))
            for part in inputs { try denoiser.timeFeatures?.validate(timesteps: part.timesteps) }
            let passes = try StagedPredictions(
                denoiser, inputs, memoryLimit: options.memoryLimit / share, interruption: interruption)
            guard passes.references.allSatisfy(\.isFinite) else { throw SensitivityError.referenceNotFinite }
            return passes
        }
        let share = usesPredictions && options.tuning.steps > 0 ? 2 : 1
        noise =
            usesPredictions
            ? NoisePredictionSensitivity(
                passes: try passes(
                    stream: PredictionInputs.measuring, guidanceScale: options.generation.guidanceScale,
                    share: share), schedule: schedule) : nil
        tuning =
            options.tuning.steps > 0
            ? LayerTuning(
                options: options.tuning,
                passes: try passes(stream: PredictionInputs.training, guidanceScale: 1, share: share)) : nil
    }

    /// The predicted noise sensitivity of all candidates; nil where it is not asked for.
    func predictedError(
        of layers: [any WeightedLayer], widths: (any WeightedLayer) -> [BitWidth], passLimit: Int = .max,
        _ interruption: () throws -> Void
    ) rethrows -> [SensitivityCandidate: Double]? {
        guard options.measures.contains(.fisher), let noise else { return nil }
        return try FisherScore(passes: noise.passes, schedule: noise.schedule)
            .scores(of: layers, widths: widths, passLimit: passLimit, interruption: interruption)
    }

    /// Backward passes that predicting takes.
    var scoringPasses: Int {
        noise.map { FisherScore(passes: $0.passes, schedule: $0.schedule).passCount } ?? 0
    }

    /// The passes that move on with the layers.
    var movingPasses: [StagedPredictions] {
        [options.measures.contains(.noise) ? noise?.passes : nil, tuning?.passes].compactMap { $0 }
    }

    /// What quantizing `layer` alone does.
    ///
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: what sampling and `interruption` throw.
    func measure(
        _ layer: any WeightedLayer, at width: BitWidth, _ interruption: @escaping () throws -> Void
    ) throws -> SensitivityScores? {
        guard options.measures != [.fisher] else { return SensitivityScores() }
        let stage = move(to: layer)
        // The first and last layer are no candidates: at 8 bits there is nothing to repair, and steps of a size that helps
        // narrow grids would do more harm than rounding does.
        let isCandidate = denoiser.layerPolicy.role(ofLayer: layer.path) == .searched
        let train = (isCandidate ? tuning : nil).map { tuning in
            { (weight: FakeQuantizedWeight) in
                try tuning.train(weight, in: layer, stage: stage, interruption: interruption)
            }
        }
        return try withQuantizedWeight(of: layer, at: width, train: train) {
            try measureModel(from: stage, interruption)
        }
    }

    /// What the model does as it is now.
    ///
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: what sampling and `interruption` throw.
    func measureModel(
        from stage: Int? = nil, _ interruption: @escaping () throws -> Void
    ) throws -> SensitivityScores? {
        var measure = SensitivityScores()
        if let comparison {
            let images = try Self.images(pipeline, subjects, options, interruption)
            guard let found = try comparison.measure(images) else { return nil }
            measure = found
        }
        if options.measures.contains(.noise), let noise {
            guard let sensitivity = try noise.measure(from: stage, interruption: interruption) else { return nil }
            measure.noise = sensitivity
        }
        return measure
    }

    /// Computes what lies before `layer`, while the model is in full precision; free where it is there already.
    ///
    /// - Returns: the layer's stage.
    @discardableResult
    func move(to layer: any WeightedLayer) -> Int? {
        let stage = denoiser.stage(ofLayer: layer.path)
        for passes in movingPasses { passes.move(to: stage ?? 0) }
        return stage
    }

    private static func images(
        _ pipeline: DiffusionPipeline, _ subjects: CalibrationSet, _ options: SensitivityOptions,
        _ interruption: @escaping () throws -> Void
    ) throws -> Tensor {
        try pipeline.generate(subjects.conditions, seeds: subjects.seeds, options: options.generation) { _ in
            try interruption()
        }
    }
}
