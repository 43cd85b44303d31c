// SPDX-License-Identifier: Apache-2.0
// Scores models of the shapes world side by side: same prompts, same seeds, same noise.
// N images, C channels, H W space.

import BitsFusion
import Foundation

/// What is asked of every model of a table.
public struct EvaluationOptions: Codable, Hashable, Sendable {
    /// Prompts of each of the six families.
    public var promptsPerFamily: Int
    /// Picks prompts, initial noise and the noisy images of the noise error.
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

/// Prompts, scorers and reference that every model of one table meets.
public struct ModelEvaluator {
    public let options: EvaluationOptions
    public let suite: PromptSuite
    /// nil: CLIP score and Fréchet distance are absent.
    public let clip: ClipProxy?
    /// The model whose noise predictions are the yardstick; nil: no noise error.
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
    ///   - model: with a text encoder of the shapes vocabulary.
    ///   - progress: called with the share done, 0...1; it may throw to interrupt.
    /// - Returns: the scores, and the images `[N, 3, 32, 32]` in the order of `suite.prompts`.
    /// - Throws: `PipelineError`, `SamplerError`, `TimeFeatureError`, and what `progress` throws.
    public func evaluate(
        _ model: DiffusionPipeline, progress: ((Double) throws -> Void)? = nil
    ) throws -> (score: ModelScore, images: Tensor) {
        let prompts = suite.prompts
        let conditions = try PromptEmbeddings(prompts: prompts.map(\.caption.text), pipeline: model)
        let start = DispatchTime.now().uptimeNanoseconds
        let images = try model.generate(
            conditions, seeds: prompts.map(\.seed), options: options.generation, progress: progress)
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        let composition = compositionalScore(images)
        let score = ModelScore(
            families: composition.families, compositional: composition.overall,
            compositionalStandardError: composition.overallStandardError, clipScore: clipScore(images),
            frechetDistance: frechetDistance(images), noiseError: try noiseError(of: model),
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

    /// Rendered scenes of the same captions, drawn from the evaluation seed, are the reference distribution.
    private func frechetDistance(_ images: Tensor) -> Double? {
        guard let clip else { return nil }
        var random = SceneRandom(seed: options.seed, index: 0, lane: 0)
        let rendered = suite.prompts.flatMap { prompt in
            SceneRenderer.render(SceneLayout.draw(prompt.caption, using: &random)).modelRange
        }
        let real = Tensor(rendered, shape: [suite.prompts.count, 3, Scene.side, Scene.side])
        return Evaluation.frechetDistance(
            features: clip.imageFeatures(images), reference: clip.imageFeatures(real))
    }

    /// Mean squared error to the reference's noise predictions, at the sampler's own timesteps (which a packed model
    /// has cached), spread as the paper's Beta(3, 1) has them: quantile u lies at u^(1/3).
    private func noiseError(of model: DiffusionPipeline) throws -> Double? {
        guard let reference else { return nil }
        let schedule = try reference.noiseSchedule()
        let kind = options.generation.sampler
        let visited = try reference.samplerConfig(kind).sampler(kind, steps: options.generation.steps)
            .timesteps.sorted()
        let count = options.noiseSamples
        let dataset = ShapesDataset(seed: options.seed)
        var random = Philox(seed: options.seed, stream: 1)
        var errors: [Double] = []
        // One timestep a batch: packed models look their time features up by it.
        let batch = 16
        for start in stride(from: 0, to: count, by: batch) {
            let size = min(batch, count - start)
            let quantile = (Double(start) + Double(size) / 2) / Double(count)
            let wanted = pow(quantile, 1.0 / 3) * Double(schedule.trainTimesteps)
            let timestep = visited.min { abs(Double($0) - wanted) < abs(Double($1) - wanted) } ?? 0
            let samples = (start..<start + size).map { dataset.sample(at: $0) }
            let clean = Tensor(
                samples.flatMap(\.image.modelRange), shape: [size, 3, Scene.side, Scene.side])
            let times = [Int](repeating: timestep, count: size)
            let noisy = schedule.addNoise(to: clean, noise: random.normal(clean.shape), timesteps: times)
            let predictions = [model, reference].map { pipeline in
                let tokenizer = ShapesTokenizer(
                    length: pipeline.textEncoder?.config.maxPositionEmbeddings ?? ShapesTokenizer.defaultLength)
                let ids = samples.flatMap { tokenizer.encode($0.caption) }
                return withoutGradients {
                    pipeline.denoiser(
                        noisy, timesteps: Tensor([Float(timestep)], shape: [1]),
                        encoderHiddenStates: pipeline.textEncoder?(ids, batch: size))
                }
            }
            errors += predictionErrors(predictions[0], reference: predictions[1])
        }
        return errors.isEmpty ? nil : errors.reduce(0, +) / Double(errors.count)
    }
}

extension ModelEvaluator {
    /// What each of the suite's images scores.
    ///
    /// - Parameter images: `[N, 3, 32, 32]` in the order of `suite.prompts`.
    /// - Returns: N scores of each kind.
    public func imageScores(_ images: Tensor) -> ImageScores {
        ImageScores(
            compositional: satisfied(images).map { $0 ? 1 : 0 }, clip: clipScores(images))
    }
}
