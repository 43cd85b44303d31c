// SPDX-License-Identifier: Apache-2.0
// From a collection of images with captions to the samples of a latent set.
// C latent channels, h w size of latents, H W size of images.

import Checkpoints
import Communication
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

    /// Encodes the images from the one at index `log.count` on and adds them to `log`. Several processes share the
    /// images; the log does not depend on their number.
    ///
    /// - Parameters:
    ///   - log: the set in the first process; nil in the others.
    ///   - workers: images that a process decodes at the same time.
    ///   - skipLimit: the number of images that may be skipped.
    ///   - communicator: the processes.
    ///   - checkCaption: throws for captions that the model's tokenizer cannot represent.
    ///   - interruption: called in every process before each image; what it throws ends the run in all of them. What
    ///     is in the log stays there.
    ///   - progress: called in the first process with the number of images in the log.
    /// - Throws: `DataSetError.tooManySkipped`; the collection's error; `FileError`; what `interruption` throws;
    ///   `PeerFailure`.
    public func encode(
        into log: LatentSetLog?, workers: Int, skipLimit: Int, communicator: any Communicator = SingleProcess(),
        checkCaption: (String) throws -> Void, interruption: () throws -> Void = {},
        progress: (_ done: Int) -> Void = { _ in }
    ) throws {
        func add(_ record: [UInt8], to log: LatentSetLog) throws {
            let before = log.skipped.count
            try log.append(record: record)
            if log.skipped.count > max(skipLimit, before), let last = log.skipped.last {
                throw DataSetError.tooManySkipped(limit: skipLimit, last: last.key, reason: last.reason)
            }
            progress(log.count)
        }
        func read(_ range: Range<Int>, _ body: ([UInt8]) throws -> Void) throws {
            try PreparedImages(source, buckets: buckets, workers: workers).read(range) { image in
                try interruption()
                try body(LatentSetLog.record(of: entry(image, checkCaption)))
            }
        }
        if communicator.size == 1, let log {
            // Images are decoded ahead without a pause.
            try read(min(log.count, source.count)..<source.count) { try add($0, to: log) }
        } else {
            let blocks = stride(from: log?.count ?? 0, to: source.count, by: Self.imagesPerTask)
            try communicator.distributeInOrder(Array(blocks)) { start in
                var records: [[UInt8]] = []
                try read(start..<min(start + Self.imagesPerTask, source.count)) { records.append($0) }
                return LatentSetLog.joined(records)
            } collect: { _, result in
                guard let log else { return }
                for record in LatentSetLog.separated(result) { try add(record, to: log) }
            }
        }
        try log?.sync()
    }

    /// The images that a process encodes before it reports their latents.
    private static let imagesPerTask = 8

    private func entry(_ image: PreparedImage, _ checkCaption: (String) throws -> Void) -> LatentSetLog.Entry {
        switch Result(catching: { try sample(image, checkCaption) }) {
        case .success(let sample): .sample(sample)
        case .failure(let error): .skipped(SkippedSample(key: image.key, reason: "\(error)"))
        }
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
