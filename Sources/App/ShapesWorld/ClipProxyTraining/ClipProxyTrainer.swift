// SPDX-License-Identifier: Apache-2.0
// Trains the CLIP-proxy on images that are rendered on the fly. B pairs per step, K hard negatives per image, T tokens.

import BitsFusion
import Foundation

/// One training run of a CLIP-proxy.
public final class ClipProxyTrainer: Trainer {
    public let config: ClipProxyTrainingConfig
    /// The model in training.
    public let model: ClipProxy
    /// Steps, optimizer and average.
    public let loop: TrainingLoop

    private let dataset: ShapesDataset
    private let tokenizer: ShapesTokenizer

    /// A run from random initial weights, drawn from the config's seed.
    ///
    /// - Throws: `TrainingConfigError.range` for an invalid config, naming the key.
    public init(_ config: ClipProxyTrainingConfig) throws {
        try config.validate()
        let (seed, training) = (config.training.seed, config.training)
        let store = ParameterStore(provider: RandomParameterProvider(seed: seed))
        let proxy = try ClipProxy(config: config.model, parameters: ParameterPath(store))
        proxy.logitScale.value = Tensor([-log(config.initialTemperature)], shape: [1])
        self.config = config
        model = proxy
        dataset = ShapesDataset(seed: seed)
        tokenizer = ShapesTokenizer(length: config.model.textConfig.maxPositionEmbeddings)
        loop = TrainingLoop(
            training,
            groups: [
                ParameterGroup(
                    store.parameters.filter { $0 !== proxy.logitScale },
                    learningRate: training.learningRate,
                    weightDecay: training.weightDecay),
                ParameterGroup([proxy.logitScale], learningRate: training.learningRate),
            ])
    }

    public func loss(of part: MicroBatch, random: inout Philox) -> StepLoss {
        loss(ofStep: part.step, random: &random)
    }

    /// The settings; the initial weights follow from their seed.
    public var identity: ClipProxyTrainingConfig {
        var fixed = config
        fixed.training = fixed.training.decidingResults
        return fixed
    }

    public var fileFormat: CheckpointFormat { .clip }

    /// Writes the proxy with its final weights and, unless all steps are done, the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; a file of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    ///   - type: the element type of the proxy's parameters. The state is stored in Float32.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func write(to path: String, manifest: RunManifest, as type: ElementType = .float32) throws {
        try withFinalState { proxy, state in
            try proxy.write(to: path, manifest: manifest, as: type) { writer in
                if !state.tensors.isEmpty { try state.write(with: writer) }
            }
        }
    }

    /// The loss of step `step`: samples `step · B ..< (step + 1) · B` of the data set.
    func loss(ofStep step: Int, random: inout Philox) -> StepLoss {
        let count = config.training.batchSize
        let batch = ClipProxyBatch(
            dataset, from: step * count, count: count, hardNegatives: config.hardNegatives,
            tokenizer: tokenizer)
        limitScale()
        let images = model.imageEmbeddings(withNoise(batch.pairs.pixels, &random))
        let captions = model.textEmbeddings(batch.pairs.tokens, batch: count)
        let hardNegatives =
            config.hardNegatives > 0
            ? model.textEmbeddings(batch.hardNegatives, batch: count * config.hardNegatives) : nil
        let scale = model.logitScale.tensor().exp()
        let loss = contrastiveLoss(
            images: images, captions: captions, hardNegatives: hardNegatives, scale: scale,
            mayMatch: batch.mayMatch)
        let matched = withoutGradients {
            (images.detached() * captions.detached()).sum(axes: [1]).mean().item
        }
        return StepLoss(loss, parts: ["matchedCosine": matched, "scale": scale.item])
    }

    /// Limits the scale after the previous update.
    private func limitScale() {
        let limit = -log(config.minimumTemperature)
        if model.logitScale.value.item > limit {
            model.logitScale.value = Tensor([limit], shape: [1])
        }
    }

    private func withNoise(_ images: Tensor, _ random: inout Philox) -> Tensor {
        guard config.imageNoise > 0 else { return images }
        let deviations = random.uniform([images.shape[0], 1, 1, 1]) * config.imageNoise
        return images + deviations * random.normal(images.shape)
    }
}

/// A batch of captioned images with false captions.
struct ClipProxyBatch {
    /// B images with their own captions.
    let pairs: ShapesBatch
    /// B·K·T token ids: the K false captions of the first image, then of the second, ...
    let hardNegatives: [Int32]
    /// B·B flags, row i for image i: true where caption j does not contradict caption i.
    let mayMatch: [Bool]

    /// Samples `first` ..< `first` + `count` of `dataset`, with K = `hardNegatives` corruptions each.
    init(
        _ dataset: ShapesDataset, from first: Int, count: Int, hardNegatives: Int, tokenizer: ShapesTokenizer
    ) {
        pairs = ShapesBatch(dataset, from: first, count: count, tokenizer: tokenizer)
        let captions = (first..<first + count).map(dataset.caption(at:))
        self.hardNegatives = captions.enumerated().flatMap { position, caption -> [Int32] in
            var random = SceneRandom(
                seed: dataset.seed, index: UInt64(first + position), stream: RandomStream.trainingCorruption)
            return (0..<hardNegatives).flatMap { _ in
                tokenizer.encode(ShapesCorruption.draw(caption, using: &random).caption)
            }
        }
        var mayMatch = [Bool](repeating: true, count: count * count)
        for i in 0..<count {
            for j in 0..<i where captions[i].contradicts(captions[j]) {
                mayMatch[i * count + j] = false
                mayMatch[j * count + i] = false
            }
        }
        self.mayMatch = mayMatch
    }
}
