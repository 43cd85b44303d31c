// SPDX-License-Identifier: Apache-2.0
// From a collection of images with captions to the samples of a latent set.
// C latent channels, h w size of latents, H W size of images.

import Checkpoints
import Files
import Foundation
import Images
import Layers
import Networks
import Pipelines
import Tensors

/// Encodes the images of a collection.
public struct ImageLatents {
    private let source: any ImageTextSource
    private let buckets: AspectBuckets
    private let vae: AutoencoderKL?
    private let conditioning: ImageConditioning
    private let seed: UInt64

    /// - Parameters:
    ///   - source: the collection.
    ///   - buckets: the sizes of images.
    ///   - vae: encodes images; nil for models in pixel space.
    ///   - config: the config of the model to be trained.
    ///   - seed: the seed of the masks for inpainting models.
    /// - Throws: `DataSetError.unsuitableModel` for models that need pairs of images; `PipelineError`.
    public init(
        _ source: any ImageTextSource, buckets: AspectBuckets, vae: AutoencoderKL?, for config: any DenoiserConfig,
        seed: UInt64
    ) throws {
        conditioning = try ImageConditioning(config)
        if case .image = conditioning {
            throw DataSetError.unsuitableModel(
                reason: "InstructPix2Pix models are trained on pairs of images; write a set of latents with h5py")
        }
        self.source = source
        self.buckets = buckets
        self.vae = vae
        self.seed = seed
    }

    /// Encodes the images from the one at index `log.count` on and adds them to `log`.
    ///
    /// - Parameters:
    ///   - log: the set.
    ///   - workers: images that are decoded at the same time.
    ///   - skipLimit: the number of images that may be skipped.
    ///   - checkCaption: throws for captions that the model's tokenizer cannot represent.
    ///   - progress: called after each image; false ends the run.
    /// - Returns: whether all images are in the log.
    /// - Throws: `DataSetError.tooManySkipped`; the collection's error; `FileError`.
    public func encode(
        into log: LatentSetLog, workers: Int, skipLimit: Int, checkCaption: (String) throws -> Void,
        progress: (_ done: Int) -> Bool
    ) throws -> Bool {
        var isComplete = true
        try PreparedImages(source, buckets: buckets, workers: workers).read(from: log.count) { image in
            switch Result(catching: { try sample(image, checkCaption) }) {
            case .success(let sample): try log.append(sample)
            case .failure(let error):
                try log.append(SkippedSample(key: image.key, reason: "\(error)"))
                guard log.skipped.count <= skipLimit else {
                    throw DataSetError.tooManySkipped(limit: skipLimit, last: image.key, reason: "\(error)")
                }
            }
            isComplete = progress(log.count)
            return isComplete
        }
        try log.sync()
        return isComplete || log.count == source.count
    }

    private func sample(_ prepared: PreparedImage, _ checkCaption: (String) throws -> Void) throws -> LatentSample {
        let bucket = try prepared.image.get()
        for caption in prepared.captions { try checkCaption(caption) }
        let image = bucket.image
        let pixels = Tensor(image.modelRange, shape: [1, 3, image.height, image.width])
        guard let vae else {
            return LatentSample(
                key: prepared.key, captions: prepared.captions, timeIDs: bucket.timeIDs,
                values: [LatentSetName.mean: pixels.reshaped([3, image.height, image.width])])
        }
        return try withoutGradients {
            let (mean, logvar) = vae.encode(pixels)
            guard mean.isFinite, logvar.isFinite else { throw DataSetError.encodingNotFinite }
            func row(_ tensor: Tensor) -> Tensor { tensor.reshaped(Array(tensor.shape.dropFirst())) }
            var values = [LatentSetName.mean: row(mean), LatentSetName.logvar: row(logvar)]
            if case .inpainting = conditioning {
                let mask = mask(height: image.height, width: image.width, key: prepared.key)
                let masked = vae.encode(pixels * (1 - mask).expanded(pixels.shape)).mean
                let small = mask.nearest(height: mean.shape[2], width: mean.shape[3])
                values[LatentSetName.condition] = row(
                    .concatenated([small, vae.config.scaledLatents(masked)], axis: 1))
            }
            return LatentSample(
                key: prepared.key, captions: prepared.captions, timeIDs: bucket.timeIDs, values: values)
        }
    }

    /// A mask for training, `[1, 1, H, W]`: everything for a quarter of the images, as Stable Diffusion's inpainting
    /// models were trained, else one to four rectangles with sides of an eighth to a half of the image. It depends on
    /// the seed and the image's key.
    private func mask(height: Int, width: Int, key: String) -> Tensor {
        var random = Philox(seed: seed ^ fnv1a("mask"), stream: fnv1a(key))
        guard random.nextUniform() >= 0.25 else { return .full([1, 1, height, width], 1) }
        var values = [Float](repeating: 0, count: height * width)
        for _ in 0...random.nextInt(below: 4) {
            func interval(_ length: Int) -> Range<Int> {
                let side = max(Int(Float(length) * (0.125 + 0.375 * random.nextUniform())), 1)
                let start = random.nextInt(below: length - side + 1)
                return start..<start + side
            }
            let (rows, columns) = (interval(height), interval(width))
            for row in rows { for column in columns { values[row * width + column] = 1 } }
        }
        return Tensor(values, shape: [1, 1, height, width])
    }
}
