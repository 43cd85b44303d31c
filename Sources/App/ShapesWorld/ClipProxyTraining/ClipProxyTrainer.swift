// SPDX-License-Identifier: Apache-2.0
// Trains the CLIP-proxy on images that are drawn as they are needed. B pairs per step.

import BitsFusion
import Foundation

/// One training run of a CLIP-proxy.
public final class ClipProxyTrainer {
    public let config: ClipProxyTrainingConfig
    /// The model in training.
    public let proxy: ClipProxy
    /// Steps, optimizer and average.
    public let loop: TrainingLoop

    private let dataset: ShapesDataset
    private let tokenizer: ShapesTokenizer

    /// A run from random initial weights (seed: the config's).
    ///
    /// - Throws: `TrainingConfigError`, naming the key, for a config that cannot be followed.
    public init(_ config: ClipProxyTrainingConfig) throws {
        try config.validate()
        let (seed, training) = (config.training.seed, config.training)
        let store = ParameterStore(provider: RandomParameterProvider(seed: seed))
        let proxy = try ClipProxy(config: config.model, parameters: ParameterPath(store))
        proxy.logitScale.value = Tensor([-log(config.initialTemperature)], shape: [1])
        self.config = config
        self.proxy = proxy
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

    /// Runs the steps that are left; see `TrainingLoop.run`.
    @discardableResult
    public func run(
        progress: (Int, Int, LossRecord) -> Void, save: () throws -> Void, shouldStop: () -> Bool
    ) throws -> Bool {
        try loop.run(
            objective: { part, random in objective(step: part.step, random: &random) }, progress: progress,
            save: save, shouldStop: shouldStop)
    }

    /// Runs `body` with the weights that are shipped: their moving average where one is kept.
    public func withFinalWeights<R>(_ body: (ClipProxy) throws -> R) rethrows -> R {
        guard let average = loop.average else { return try body(proxy) }
        return try average.withAverages { try body(proxy) }
    }

    /// The loss of step `step`: samples `step · B ..< (step + 1) · B` of the data set.
    func objective(step: Int, random: inout Philox) -> StepLoss {
        let count = config.training.batchSize
        let batch = ClipProxyBatch(
            dataset, from: step * count, count: count, hardNegatives: config.hardNegatives,
            tokenizer: tokenizer)
        limitScale()
        let images = proxy.imageEmbeddings(withNoise(batch.pairs.pixels, &random))
        let captions = proxy.textEmbeddings(batch.pairs.tokens, batch: count)
        let hardNegatives =
            config.hardNegatives > 0
            ? proxy.textEmbeddings(batch.hardNegatives, batch: count * config.hardNegatives) : nil
        let scale = proxy.logitScale.tensor().exp()
        let loss = contrastiveLoss(
            images: images, captions: captions, hardNegatives: hardNegatives, scale: scale,
            mayMatch: batch.mayMatch)
        let matched = withoutGradients {
            (images.detached() * captions.detached()).sum(axes: [1]).mean().item
        }
        return StepLoss(loss, parts: ["matchedCosine": matched, "scale": scale.item])
    }

    /// Keeps the last update from having made the scale too large.
    private func limitScale() {
        let limit = -log(config.minimumTemperature)
        if proxy.logitScale.value.item > limit {
            proxy.logitScale.value = Tensor([limit], shape: [1])
        }
    }

    private func withNoise(_ images: Tensor, _ random: inout Philox) -> Tensor {
        guard config.imageNoise > 0 else { return images }
        let deviations = random.uniform([images.shape[0], 1, 1, 1]) * config.imageNoise
        return images + deviations * random.normal(images.shape)
    }
}
