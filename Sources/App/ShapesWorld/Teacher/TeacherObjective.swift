// SPDX-License-Identifier: Apache-2.0
// What a full-precision shapes model is trained on: the noise in images of captioned shapes
// (Ho et al. 2020, arXiv:2006.11239), with text dropping for classifier-free guidance. B batch, T tokens.

import BitsFusion

/// How the squared error of the predicted noise is weighted over timesteps.
public struct LossWeighting: Codable, Hashable, Sendable {
    /// The weight is min(1 / ā, maximumWeight): 1 everywhere for 1; towards large values the loss of velocity
    /// prediction (Salimans and Ho 2022, arXiv:2202.00512), which makes noisy steps, where an image is laid out, count.
    public var maximumWeight: Float

    public init(maximumWeight: Float) { self.maximumWeight = maximumWeight }

    func weight(alphaCumprod: Float) -> Float { min(1 / max(alphaCumprod, 1e-6), maximumWeight) }
}

/// The loss of one training step of denoiser and text encoder together.
public struct TeacherObjective {
    public let denoiser: any Denoiser
    public let textEncoder: CLIPTextModel
    public let schedule: NoiseSchedule
    public let dataset: ShapesDataset
    /// Share of captions that are replaced by the empty prompt, 0...1.
    public let textDropping: Float
    public let timesteps: TimestepDistribution
    public let weighting: LossWeighting

    /// The mean loss over `part`'s samples of the data set.
    public func callAsFunction(_ part: MicroBatch, random: inout Philox) -> StepLoss {
        let batchSize = part.count
        let batch = ShapesBatch(
            dataset, from: part.samples.lowerBound, count: batchSize,
            tokenizer: ShapesTokenizer(length: textEncoder.config.maxPositionEmbeddings), captionDropping: textDropping)
        let times = timesteps.draw(batchSize, trainTimesteps: schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        let noise = random.normal(batch.pixels.shape)
        let noisy = schedule.addNoise(to: batch.pixels, noise: noise, timesteps: times)
        let target = schedule.target(sample: batch.pixels, noise: noise, timesteps: times)
        let prediction = denoiser(
            noisy, timesteps: Tensor(times.map(Float.init), shape: [batchSize]),
            encoderHiddenStates: textEncoder(batch.tokens, batch: batchSize))
        let roots = times.map { weighting.weight(alphaCumprod: schedule.alphasCumprod[$0]).squareRoot() }
        let scale = Tensor(roots, shape: [batchSize, 1, 1, 1])
        return StepLoss(meanSquaredError(prediction * scale, target * scale))
    }
}

/// Images with their captions' token ids.
public struct ShapesBatch {
    /// `[B, 3, 32, 32]` in [-1, 1].
    public let pixels: Tensor
    /// `[B · T]`.
    public let tokens: [Int32]

    /// Samples `first ..< first + count`, drawn on all threads.
    public init(
        _ dataset: ShapesDataset, from first: Int, count: Int, tokenizer: ShapesTokenizer,
        captionDropping: Float = 0
    ) {
        let image = Tensor(unsafeUninitialized: [count, 3, Scene.side, Scene.side])
        let (values, length) = (SceneRenderer.valuesPerImage, tokenizer.length)
        var ids = [Int32](repeating: 0, count: count * length)
        image.withUnsafeMutableBufferPointer { pixels in
            ids.withUnsafeMutableBufferPointer { ids in
                nonisolated(unsafe) let ids = ids
                Threads.parallelFor(count) { range in
                    let (from, to) = (range.lowerBound, range.upperBound)
                    dataset.fillBatch(
                        from: first + from,
                        pixels: UnsafeMutableBufferPointer(rebasing: pixels[from * values..<to * values]),
                        tokens: UnsafeMutableBufferPointer(rebasing: ids[from * length..<to * length]),
                        tokenizer: tokenizer, captionDropping: captionDropping)
                }
            }
        }
        pixels = image
        tokens = ids
    }
}
