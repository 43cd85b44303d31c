// SPDX-License-Identifier: Apache-2.0
// Measures candidates. The full-precision images and predictions, and the inputs on which predictions are compared, are
// computed once.

import Communication
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
    let calibration: CalibrationSet
    let options: SensitivityOptions
    /// For `images`.
    let imageSensitivity: ImageSensitivity?
    /// The time of the reference images, in seconds.
    let imageSeconds: Double
    /// For `noise` and `fisher`.
    let noise: NoisePredictionSensitivity?
    /// nil where candidates are not fine-tuned.
    let tuning: LayerTuning?

    /// Computes the references; `interruption` is called between passes and may throw to end the work.
    ///
    /// - Throws: `SensitivityError.notStaged`, `.conditionChannels`, `.predictedChannels`, `.referenceNotFinite`; what
    ///   sampling and `interruption` throw.
    init(
        pipeline: DiffusionPipeline, calibration: CalibrationSet, captionScore: CaptionScore?,
        options: SensitivityOptions, interruption: @escaping () throws -> Void
    ) throws {
        (self.pipeline, self.calibration, self.options) = (pipeline, calibration, options)
        let denoiser = try pipeline.stagedDenoiser(hasSamples: calibration.samples != nil)
        self.denoiser = denoiser
        let schedule = try pipeline.noiseSchedule()
        let clock = ContinuousClock()
        let start = clock.now
        let images = try calibration.samples ?? Self.images(pipeline, calibration, options, interruption)
        imageSeconds = (clock.now - start) / .seconds(1)
        imageSensitivity =
            try options.measures.contains(.images)
            ? ImageSensitivity(
                reference: images, isLatent: denoiser.config.isLatent, captionScore: captionScore,
                decode: pipeline.vae.map { vae in { Self.decoded($0, vae) } }) : nil
        let usesPredictions = !options.measures.isDisjoint(with: [.noise, .fisher])
        func passes(stream: AnalysisStream, guidanceScale: Float, share: Int) throws -> StagedPredictions {
            let inputs = PredictionInputs.noised(
                images, channels: denoiser.config.outChannels, calibration: calibration,
                timestepsPerImage: options.timestepsPerImage,
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
                    stream: .measuring, guidanceScale: options.generation.guidanceScale,
                    share: share), schedule: schedule) : nil
        tuning =
            options.tuning.steps > 0
            ? LayerTuning(
                options: options.tuning,
                passes: try passes(stream: .tuning, guidanceScale: 1, share: share)) : nil
    }

    /// The predicted noise sensitivity of all candidates; nil where it is not measured.
    func predictedError(
        of layers: [any WeightedLayer], bits: (any WeightedLayer) -> [BitWidth], passLimit: Int = .max,
        communicator: any Communicator = SingleProcess(), _ interruption: () throws -> Void
    ) throws -> [SensitivityCandidate: Double]? {
        guard options.measures.contains(.fisher), let noise else { return nil }
        return try FisherScore(passes: noise.passes, schedule: noise.schedule)
            .scores(
                of: layers, bits: bits, passLimit: passLimit, communicator: communicator, interruption: interruption)
    }

    /// The number of backward passes of the prediction.
    var scoringPasses: Int {
        noise.map { FisherScore(passes: $0.passes, schedule: $0.schedule).passCount } ?? 0
    }

    /// The passes whose states follow the layer that is measured.
    var movingPasses: [StagedPredictions] {
        [options.measures.contains(.noise) ? noise?.passes : nil, tuning?.passes].compactMap { $0 }
    }

    /// The scores of the model with `layer` quantized alone.
    ///
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: what sampling and `interruption` throw.
    func measure(
        _ layer: any WeightedLayer, at bits: BitWidth, _ interruption: @escaping () throws -> Void
    ) throws -> SensitivityScores? {
        guard options.measures != [.fisher] else { return SensitivityScores() }
        let stage = move(to: layer)
        // The first and last layer are not fine-tuned: at 8 bits, steps of a size that helps coarse grids increase the
        // error.
        let isCandidate = denoiser.layerPolicy.role(ofLayer: layer.path) == .searched
        let train = (isCandidate ? tuning : nil).map { tuning in
            { (weight: FakeQuantizedWeight) in
                try tuning.train(weight, in: layer, stage: stage, interruption: interruption)
            }
        }
        return try withQuantizedWeight(of: layer, at: bits, train: train) {
            try measureModel(from: stage, interruption)
        }
    }

    /// The scores of the model with its present weights.
    ///
    /// - Returns: nil where images or predictions are not finite.
    /// - Throws: what sampling and `interruption` throw.
    func measureModel(
        from stage: Int? = nil, _ interruption: @escaping () throws -> Void
    ) throws -> SensitivityScores? {
        var measure = SensitivityScores()
        if let imageSensitivity {
            let images = try Self.images(pipeline, calibration, options, interruption)
            guard let found = try imageSensitivity.measure(images) else { return nil }
            measure = found
        }
        if options.measures.contains(.noise), let noise {
            guard let sensitivity = try noise.measure(from: stage, interruption: interruption) else { return nil }
            measure.noise = sensitivity
        }
        return measure
    }

    /// Computes the stages before `layer`, with the model in full precision, unless they are computed already.
    ///
    /// - Returns: the stage of the layer.
    @discardableResult
    func move(to layer: any WeightedLayer) -> Int? {
        let stage = denoiser.stage(ofLayer: layer.path)
        for passes in movingPasses { passes.move(to: stage ?? 0) }
        return stage
    }

    /// The images of latents, decoded one after the other.
    private static func decoded(_ latents: Tensor, _ vae: AutoencoderKL) -> Tensor {
        .concatenated(
            (0..<latents.shape[0]).map { index in
                withoutGradients {
                    vae.decode(vae.config.unscaledLatents(latents.sliced(axis: 0, index..<index + 1)))
                }
            }, axis: 0)
    }

    private static func images(
        _ pipeline: DiffusionPipeline, _ calibration: CalibrationSet, _ options: SensitivityOptions,
        _ interruption: @escaping () throws -> Void
    ) throws -> Tensor {
        try pipeline.generate(calibration.conditions, seeds: calibration.seeds, options: options.generation) { _ in
            try interruption()
        }
    }
}
