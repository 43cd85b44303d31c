// SPDX-License-Identifier: Apache-2.0
// Trains the CLIP-proxy on pictures that are drawn as they are needed. B pairs per step.

import Evaluation
import Foundation
import Layers
import Shapes
import Tensors

/// One training run of a CLIP-proxy.
public final class ClipProxyTrainer {
    public let recipe: ClipProxyRecipe
    /// The model in training.
    public let proxy: ClipProxy
    /// Steps, optimizer and average.
    public let loop: TrainingLoop

    private let dataset: ShapesDataset
    private let tokenizer: WordTokenizer

    /// A run from random initial weights (seed: the recipe's).
    ///
    /// - Throws: `TeacherRecipeError`, naming the key, for a recipe that cannot be followed.
    public init(_ recipe: ClipProxyRecipe) throws {
        try recipe.validate()
        let (seed, training) = (recipe.training.seed, recipe.training)
        let store = ParameterStore(provider: RandomParameterProvider(seed: seed))
        let proxy = try ClipProxy(config: recipe.model, parameters: Parameters(store))
        proxy.logitScale.value = Tensor([-log(recipe.initialTemperature)], shape: [1])
        self.recipe = recipe
        self.proxy = proxy
        dataset = ShapesDataset(seed: seed)
        tokenizer = WordTokenizer(length: recipe.model.text.maxLength)
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
        let count = recipe.training.batchSize
        let batch = ClipProxyBatch(
            dataset, from: step * count, count: count, hardNegatives: recipe.hardNegatives,
            tokenizer: tokenizer)
        limitScale()
        let images = proxy.imageEmbeddings(withNoise(batch.pairs.pixels, &random))
        let captions = proxy.textEmbeddings(batch.pairs.tokens, batch: count)
        let hardNegatives =
            recipe.hardNegatives > 0
            ? proxy.textEmbeddings(batch.hardNegatives, batch: count * recipe.hardNegatives) : nil
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
        let limit = -log(recipe.minimumTemperature)
        if proxy.logitScale.value.item > limit {
            proxy.logitScale.value = Tensor([limit], shape: [1])
        }
    }

    private func withNoise(_ images: Tensor, _ random: inout Philox) -> Tensor {
        guard recipe.imageNoise > 0 else { return images }
        let deviations = random.uniform([images.shape[0], 1, 1, 1]) * recipe.imageNoise
        return images + deviations * random.normal(images.shape)
    }
}
