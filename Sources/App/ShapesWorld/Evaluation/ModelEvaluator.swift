// SPDX-License-Identifier: Apache-2.0
// Scores models of the shapes world on the same prompts, seeds and noise. A score is a row of the table that
// `bitsfusion evaluate` prints.
// N images, C channels, H W space.

import BitsFusion
import Foundation

/// Settings that all models of a table share.
public struct EvaluationOptions: Codable, Hashable, Sendable {
    /// Prompts of each of the six families.
    public var promptsPerFamily: Int
    /// Decides prompts, initial noise and the noisy images of the noise error.
    public var seed: UInt64
    public var generation: GenerationOptions
    /// Noisy images that the noise error averages over.
    public var noiseSamples: Int

    public init(
        promptsPerFamily: Int = 40, seed: UInt64 = 1024, generation: GenerationOptions = GenerationOptions(),
        noiseSamples: Int = 128
    ) {
        self.promptsPerFamily = promptsPerFamily
        self.seed = seed
        self.generation = generation
        self.noiseSamples = noiseSamples
    }
}

/// Prompts, scorer and reference that all models of a table share.
public struct ModelEvaluator {
    public let options: EvaluationOptions
    public let suite: PromptSuite
    /// nil: no CLIP score and no Fréchet distance.
    public let clip: ClipProxy?
    /// The model that noise predictions are compared with; nil: no noise error.
    public let reference: DiffusionPipeline?

    public init(_ options: EvaluationOptions, clip: ClipProxy?, reference: DiffusionPipeline?) {
        self.options = options
        suite = PromptSuite(promptsPerFamily: options.promptsPerFamily, seed: options.seed)
        self.clip = clip
        self.reference = reference
    }

    /// Scores one model.
    ///
    /// - Parameters:
    ///   - model: a model with the tokenizer of the shapes world.
    ///   - communicator: the processes that share the images. The images do not depend on their number.
    ///   - interruption: called in every process after each step of sampling; it may throw to interrupt.
    ///   - progress: called in the first process with the share of the images that are done, 0...1.
    /// - Returns: the scores, and the images `[N, 3, 32, 32]` in the order of `suite.prompts`; nil in all processes but
    ///   the first.
    /// - Throws: `PipelineError`, `SamplerError`, `TimeFeatureError`, what `interruption` throws, `PeerFailure`.
    public func evaluate(
        _ model: DiffusionPipeline, communicator: any Communicator = SingleProcess(),
        interruption: @escaping () throws -> Void = {}, progress: @escaping (Double) -> Void = { _ in }
    ) throws -> (score: ModelScore, images: Tensor)? {
        let prompts = suite.prompts
        let conditions = try PromptEmbeddings(prompts: prompts.map(\.caption.text), pipeline: model)
        let start = DispatchTime.now().uptimeNanoseconds
        guard
            let images = try model.generate(
                conditions, seeds: prompts.map(\.seed), options: options.generation, communicator: communicator,
                interruption: interruption, progress: progress)
        else { return nil }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        let composition = compositionalScore(images)
        let score = ModelScore(
            families: composition.families, compositional: composition.overall,
            compositionalStandardError: composition.overallStandardError, clipScore: clipScore(images),
            frechetDistance: frechetDistance(images), noiseError: try noiseError(of: model),
            noiseErrorCurve: try noiseErrorCurve(of: model),
            secondsPerImage: seconds / Double(prompts.count))
        return (score, images)
    }

    /// The images of a tensor `[N, 3, 32, 32]` in [-1, 1].
    public static func images(_ images: Tensor) -> [RGBImage] {
        let values = images.values
        let each = images.count / max(images.shape[0], 1)
        return (0..<images.shape[0]).map {
            RGBImage(
                width: images.shape[3], height: images.shape[2],
                modelRange: values[$0 * each..<($0 + 1) * each])
        }
    }

    private func compositionalScore(_ images: Tensor) -> CompositionalScore {
        CompositionalScore(
            zip(satisfied(images), suite.prompts).map { ($1.caption.family.rawValue, $0) })
    }

    /// Whether each image satisfies its prompt.
    func satisfied(_ images: Tensor) -> [Bool] {
        let evaluator = SceneEvaluator()
        return zip(Self.images(images), suite.prompts).map {
            evaluator.evaluate($0, against: $1.caption).isSatisfied
        }
    }

    private func clipScore(_ images: Tensor) -> MeanEstimate? {
        clipScores(images).map { MeanEstimate(of: $0) }
    }

    /// The cosine between each image and its prompt; nil without a CLIP-proxy.
    func clipScores(_ images: Tensor) -> [Double]? {
        guard let clip else { return nil }
        let tokenizer = ShapesTokenizer(length: clip.config.textConfig.maxPositionEmbeddings)
        let ids = suite.prompts.flatMap { tokenizer.encode($0.caption) }
        return clip.score(images, ids: ids).map(Double.init)
    }

    /// The Fréchet distance to rendered scenes of the same captions, drawn from the evaluation's seed.
    private func frechetDistance(_ images: Tensor) -> Double? {
        guard let clip else { return nil }
        var random = SceneRandom(seed: options.seed, index: 0, stream: RandomStream.referenceScenes)
        let rendered = suite.prompts.flatMap { prompt in
            SceneRenderer.render(SceneLayout.draw(prompt.caption, using: &random)).modelRange
        }
        let real = Tensor(rendered, shape: [suite.prompts.count, 3, Scene.side, Scene.side])
        return Evaluation.frechetDistance(
            features: clip.imageFeatures(images), reference: clip.imageFeatures(real))
    }

    /// Mean squared error of the noise predictions against the reference's.
    ///
    /// Timesteps are those of the sampler, which a packed model has cached. They are chosen by the quantiles of the
    /// paper's Beta(3, 1): quantile u is u^(1/3).
    private func noiseError(of model: DiffusionPipeline) throws -> Double? {
        guard let reference else { return nil }
        let visited = try visitedTimesteps(reference)
        let count = options.noiseSamples
        var random = Philox(seed: options.seed, stream: RandomStream.noiseError)
        var errors: [Double] = []
        for start in stride(from: 0, to: count, by: Self.noiseBatch) {
            let size = min(Self.noiseBatch, count - start)
            let quantile = (Double(start) + Double(size) / 2) / Double(count)
            errors += try noiseErrors(
                of: model, against: reference, at: visited.nearest(toShare: pow(quantile, 1.0 / 3)),
                samples: start..<start + size, random: &random)
        }
        return errors.isEmpty ? nil : errors.reduce(0, +) / Double(errors.count)
    }

    /// The same error at up to ten timesteps of the sampler, about evenly spaced from the least to the most noisy one,
    /// with equal images and noise at each of them.
    private func noiseErrorCurve(of model: DiffusionPipeline) throws -> [TimestepError]? {
        guard let reference else { return nil }
        let visited = try visitedTimesteps(reference)
        let timesteps = Set(
            (0..<Self.curvePoints).map { visited.nearest(toShare: (Double($0) + 0.5) / Double(Self.curvePoints)) })
        return try timesteps.sorted().map { timestep in
            var random = Philox(seed: options.seed, stream: RandomStream.noiseErrorCurve)
            let errors = try noiseErrors(
                of: model, against: reference, at: timestep, samples: 0..<Self.noiseBatch, random: &random)
            return TimestepError(timestep: timestep, error: errors.reduce(0, +) / Double(errors.count))
        }
    }

    /// Images of one prediction of the noise error. They have one timestep, by which packed models look up their time
    /// features.
    private static let noiseBatch = 16
    private static let curvePoints = 10

    /// The timesteps of the sampler, ascending.
    private func visitedTimesteps(_ pipeline: DiffusionPipeline) throws -> VisitedTimesteps {
        let kind = options.generation.sampler
        let timesteps = try pipeline.samplerConfig(kind).sampler(kind, steps: options.generation.steps).timesteps
        return VisitedTimesteps(
            values: timesteps.map { Int($0.rounded()) }.sorted(),
            trainTimesteps: try pipeline.noiseSchedule().trainTimesteps)
    }

    private func noiseErrors(
        of model: DiffusionPipeline, against reference: DiffusionPipeline, at timestep: Int, samples: Range<Int>,
        random: inout Philox
    ) throws -> [Double] {
        let schedule = try reference.noiseSchedule()
        let dataset = ShapesDataset(seed: options.seed)
        let samples = samples.map { dataset.sample(at: $0) }
        let clean = Tensor(
            samples.flatMap(\.image.modelRange), shape: [samples.count, 3, Scene.side, Scene.side])
        let times = [Int](repeating: timestep, count: samples.count)
        let noisy = schedule.addNoise(to: clean, noise: random.normal(clean.shape), timesteps: times)
        let predictions = [model, reference].map { pipeline in
            let tokenizer = ShapesTokenizer(
                length: pipeline.textEncoder?.config.maxPositionEmbeddings ?? ShapesTokenizer.defaultLength)
            let ids = samples.flatMap { tokenizer.encode($0.caption) }
            return withoutGradients {
                pipeline.denoiser(
                    noisy, timesteps: Tensor([Float(timestep)], shape: [1]),
                    encoderHiddenStates: pipeline.textEncoder?(ids, batch: samples.count))
            }
        }
        return predictionErrors(predictions[0], reference: predictions[1])
    }
}

/// The timesteps that a sampler visits.
private struct VisitedTimesteps {
    /// Ascending, not empty.
    let values: [Int]
    let trainTimesteps: Int

    /// The one nearest to `share` · `trainTimesteps`.
    func nearest(toShare share: Double) -> Int {
        let wanted = share * Double(trainTimesteps)
        return values.min { abs(Double($0) - wanted) < abs(Double($1) - wanted) } ?? 0
    }
}

/// The mean squared error of noise predictions at one timestep.
public struct TimestepError: Codable, Hashable, Sendable {
    public var timestep: Int
    public var error: Double
}

extension ModelEvaluator {
    /// The scores of each image of the suite.
    ///
    /// - Parameter images: `[N, 3, 32, 32]` in the order of `suite.prompts`.
    /// - Returns: N scores of each kind.
    public func imageScores(_ images: Tensor) -> ImageScores {
        ImageScores(
            compositional: satisfied(images).map { $0 ? 1 : 0 }, clip: clipScores(images))
    }
}

/// Quality and speed of one model on one set of prompts.
public struct ModelScore: Codable, Hashable, Sendable {
    /// The shares of the families, of which `compositional` is the mean.
    public var families: [CompositionalScore.Family]
    /// Mean over families of the share of images that satisfy their prompts, 0...1.
    public var compositional: Double
    public var compositionalStandardError: Double
    /// Mean cosine between images and prompts by the CLIP-proxy, -1...1; nil without one.
    public var clipScore: MeanEstimate?
    /// Fréchet distance between CLIP-proxy features of the images and of rendered scenes for the same prompts; nil
    /// without a CLIP-proxy. It decreases with the number of prompts, so only rows of one table are comparable.
    public var frechetDistance: Double?
    /// Mean squared error of the predicted noise against the reference model's; nil without a reference.
    public var noiseError: Double?
    /// The same error at timesteps from the least to the most noisy one; nil without a reference.
    public var noiseErrorCurve: [TimestepError]?
    /// Wall-clock seconds per image, guidance included.
    public var secondsPerImage: Double
}
