// SPDX-License-Identifier: Apache-2.0
// The training loss of a full-precision shapes model: noise prediction on captioned images
// (Ho et al. 2020, arXiv:2006.11239), with text dropping for classifier-free guidance. B batch, T tokens.

import BitsFusion

/// The weight of the squared error of the predicted noise as a function of the timestep.
public struct LossWeighting: Codable, Hashable, Sendable {
    /// The weight is min(1 / ā, `maximumWeight`): constant for 1. For large values the loss approaches that of velocity
    /// prediction (Salimans and Ho 2022, arXiv:2202.00512), which increases the weight of noisy timesteps, where the
    /// layout of an image is decided.
    public var maximumWeight: Float

    public init(maximumWeight: Float) { self.maximumWeight = maximumWeight }

    func weight(alphaCumprod: Float) -> Float { min(1 / max(alphaCumprod, 1e-6), maximumWeight) }
}

/// The loss of one training step of denoiser and text encoder.
public struct TeacherObjective {
    public let denoiser: any Denoiser
    public let textEncoder: CLIPTextModel
    /// Whether the loss has gradients with respect to the text encoder's weights.
    public let trainsTextEncoder: Bool
    public let schedule: NoiseSchedule
    public let dataset: ShapesDataset
    /// Share of captions replaced by the empty prompt, 0...1.
    public let textDropping: Float
    public let timesteps: TimestepDistribution
    public let weighting: LossWeighting

    /// The mean loss over `part`'s samples of the data set.
    public func callAsFunction(_ part: MicroBatch, random: inout Philox) -> StepLoss {
        let times = timesteps.draw(part.count, trainTimesteps: schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        return loss(from: part.samples.lowerBound, timesteps: times) { random.normal($0) }
    }

    /// The mean loss over B samples of the data set, from index `first` on.
    ///
    /// - Parameters:
    ///   - first: the index of the first sample.
    ///   - times: B timesteps.
    ///   - noise: standard normal values of the given shape.
    /// - Returns: the loss.
    func loss(from first: Int, timesteps times: [Int], noise: ([Int]) -> Tensor) -> StepLoss {
        let batchSize = times.count
        let batch = ShapesBatch(
            dataset, from: first, count: batchSize,
            tokenizer: ShapesTokenizer(length: textEncoder.config.maxPositionEmbeddings), textDropping: textDropping)
        let noise = noise(batch.pixels.shape)
        let noisy = schedule.addNoise(to: batch.pixels, noise: noise, timesteps: times)
        let target = schedule.target(sample: batch.pixels, noise: noise, timesteps: times)
        let prediction = denoiser(
            noisy, timesteps: Tensor(times.map(Float.init), shape: [batchSize]),
            encoderHiddenStates: trainsTextEncoder
                ? textEncoder(batch.tokens, batch: batchSize)
                : withoutGradients {
                    withProductPrecision(.float32) { textEncoder(batch.tokens, batch: batchSize) }
                })
        let roots = times.map { weighting.weight(alphaCumprod: schedule.alphasCumprod[$0]).squareRoot() }
        let scale = Tensor(roots, shape: [batchSize, 1, 1, 1])
        return StepLoss(meanSquaredError(prediction * scale, target * scale))
    }
}
