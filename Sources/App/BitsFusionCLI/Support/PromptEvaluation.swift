// SPDX-License-Identifier: Apache-2.0
// Scores latent models on a list of prompts: CLIP scores of the decoded images, and their differences from the images
// of the first model with the same seeds. Images are compared as files have them, with 8 bits.
// K images, P projection size of CLIP.

import BitsFusion
import Foundation

/// The images of one model, and what is measured of them.
struct ImageMeasurements {
    /// The projected CLIP features, `[K, P]`.
    let features: Tensor
    /// The CLIP score of each image.
    let scores: [Double]
    /// The comparison with the images of the first model; nil for the first model.
    let comparison: ImageErrors?
    /// Wall-clock seconds per image of sampling with guidance and of decoding.
    let secondsPerImage: Double
    /// The size of the denoiser.
    let size: ModelSize
    /// The images: all of the first model, else those that a grid shows.
    let images: [StoredImage]
}

/// An image in 8 bits, in a quarter of the memory of an `RGBImage`.
struct StoredImage {
    private let width, height: Int
    /// `[height, width, 3]`.
    let bytes: [UInt8]

    /// The image, rounded to 8 bits.
    init(_ image: RGBImage) { (width, height, bytes) = (image.width, image.height, image.interleaved) }

    /// The image of these bytes, `[height, width, 3]`.
    init(_ bytes: ArraySlice<UInt8>, size: SampleSize) {
        (width, height, self.bytes) = (size.width, size.height, Array(bytes))
    }

    var image: RGBImage { RGBImage(width: width, height: height, interleaved: bytes) }
}

/// The differences of the images of a model from those of the first model.
struct ImageErrors {
    /// In units of the range of the pixels.
    var squaredErrors: [Double] = []
    /// nil where images are smaller than a window.
    var similarities: [Double]? = []

    /// Adds one pair of images.
    mutating func add(_ image: RGBImage, reference: RGBImage) {
        let (image, reference) = (image.tensor, reference.tensor)
        squaredErrors += meanSquaredErrors(image, reference: reference)
        if min(image.shape[2], image.shape[3]) < structuralSimilarityWindow { similarities = nil }
        similarities? += structuralSimilarities(image, reference: reference, dataRange: 1)
    }
}

/// Prompts, seeds, sampling options and CLIP model that all models of a table share.
struct PromptEvaluation {
    let prompts: [PromptRecord]
    let clip: ImageTextEncoder
    let options: GenerationOptions
    /// What inpainting models take besides prompts.
    let inputs: SamplingInputs
    /// Image i starts from seed `seed + i`.
    let seed: UInt64
    /// The number of images of each model that are kept for a grid.
    let shown: Int
    /// The processes that share the images. The measurements do not depend on their number.
    let communicator: any Communicator
    private let textFeatures: Tensor

    /// The number of prompts or images that are encoded at once.
    private static let chunk = 16

    /// - Throws: the tokenizer's error for text that it cannot represent.
    init(
        prompts: [PromptRecord], clip: ImageTextEncoder, options: GenerationOptions, inputs: SamplingInputs,
        seed: UInt64, shown: Int, communicator: any Communicator = SingleProcess()
    ) throws {
        (self.prompts, self.clip, self.options, self.inputs) = (prompts, clip, options, inputs)
        (self.seed, self.shown, self.communicator) = (seed, shown, communicator)
        textFeatures = try clip.textFeatures(prompts.map(\.text))
    }

    /// Samples and measures the images of one model.
    ///
    /// - Parameters:
    ///   - model: a latent model with text encoder and VAE.
    ///   - reference: the images of the first model; nil for the first model.
    ///   - progress: makes a reporter of a step of the work, by its name.
    /// - Returns: the measurements, and the images that are needed later; nil in all processes but the first.
    /// - Throws: what opening and sampling throw; `Interrupted`; `PeerFailure`.
    func measure(
        _ model: StagedPipeline, reference: [StoredImage]?, progress: (String) -> ProgressReporter
    ) throws -> ImageMeasurements? {
        // Texts that the first model cuts off, the others usually cut off too.
        let conditions = try conditions(of: model, warns: reference == nil)
        let sampled = try latents(of: model, conditions, progress("\(model.name): sampling"))
        let start = ContinuousClock.now
        let decoded = try decodedImages(sampled.latents, of: model, progress("\(model.name): decoding"))
        guard let (images, features) = decoded else { return nil }
        let seconds = sampled.seconds + Numbers.seconds(start.duration(to: .now))
        var comparison = reference.map { _ in ImageErrors() }
        if let reference {
            for (image, other) in zip(images, reference) {
                try InterruptFlag.check()
                comparison?.add(image.image, reference: other.image)
            }
        }
        return ImageMeasurements(
            features: features, scores: clipScores(imageFeatures: features, textFeatures: textFeatures),
            comparison: comparison, secondsPerImage: seconds / Double(prompts.count), size: sampled.size,
            images: reference == nil ? images : Array(images.prefix(shown)))
    }

    /// The text encoders' output for all prompts.
    private func conditions(of model: StagedPipeline, warns: Bool) throws -> PromptEmbeddings {
        let encoder = try model.promptEncoder()
        let texts = prompts.map(\.text)
        if warns { try StagedPipeline.warnOfTruncation(texts, by: encoder, option: "--prompts") }
        let imageSize = try model.imageSize(of: options.size)
        let parts = try stride(from: 0, to: texts.count, by: Self.chunk).map { first in
            try encoder.embeddings(
                Array(texts[first..<min(first + Self.chunk, texts.count)]),
                options: PromptOptions(imageSize: imageSize))
        }
        return .concatenated(parts)
    }

    /// Samples with the denoiser, which is released before the VAE is opened.
    ///
    /// - Returns: the latents in all processes, `[K, C, H, W]`.
    private func latents(
        of model: StagedPipeline, _ conditions: PromptEmbeddings, _ reporter: ProgressReporter
    ) throws -> (latents: Tensor, size: ModelSize, seconds: Double) {
        let pipeline = try model.denoiser()
        let config = pipeline.denoiser.config
        try addingFile(model.name) { try conditions.validate(for: config, size: options.size) }
        let start = ContinuousClock.now
        let seeds = prompts.indices.map { seed &+ UInt64($0) }
        let samples = try model.checked {
            try pipeline.generate(
                conditions, seeds: seeds, options: options, inputs: inputs, communicator: communicator,
                interruption: InterruptFlag.check, progress: { reporter.update(share: $0) })
        }
        let seconds = Numbers.seconds(start.duration(to: .now))
        reporter.endLine()
        let shape = pipeline.sampleShape(batch: prompts.count, size: options.size)
        let values = try communicator.broadcast(samples?.values)
        return (
            Tensor(values, shape: shape), try ModelSize(of: pipeline, file: model.reader.path), seconds
        )
    }

    /// Decodes the latents `[K, C, H, W]` in chunks, which the processes share.
    ///
    /// - Returns: the images and their CLIP features `[K, P]`; nil in all processes but the first.
    private func decodedImages(
        _ latents: Tensor, of model: StagedPipeline, _ reporter: ProgressReporter
    ) throws -> (images: [StoredImage], features: Tensor)? {
        guard let vae = try model.decoder() else {
            preconditionFailure("\(model.name): no VAE; the command checks it")
        }
        let size = try model.imageSize(of: options.size)
        let chunks = stride(from: 0, to: prompts.count, by: Self.chunk).map {
            $0..<min($0 + Self.chunk, prompts.count)
        }
        var (done, images, features) = (0, [StoredImage](), [Float]())
        var results: [Int: [UInt8]] = [:]
        try communicator.distribute(Array(chunks.indices)) { chunk in
            let images = try chunks[chunk].map { index in
                try InterruptFlag.check()
                return decoded(latents.sliced(axis: 0, index..<index + 1), vae)
            }
            let features = clip.imageFeatures(images.map(\.image))
            return features.withUnsafeBufferPointer { Array(UnsafeRawBufferPointer($0)) } + images.flatMap(\.bytes)
        } collect: { chunk, bytes in
            results[chunk] = bytes
            done += chunks[chunk].count
            reporter.update(done)
        }
        reporter.endLine()
        guard communicator.isFirst else { return nil }
        for (chunk, range) in chunks.enumerated() {
            guard let bytes = results.removeValue(forKey: chunk) else { continue }
            let imageBytes = 3 * size.height * size.width
            let featureBytes = bytes.count - range.count * imageBytes
            features += bytes[..<featureBytes].withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
            for start in stride(from: featureBytes, to: bytes.count, by: imageBytes) {
                images.append(StoredImage(bytes[start..<start + imageBytes], size: size))
            }
        }
        return (images, Tensor(features, shape: [prompts.count, features.count / max(prompts.count, 1)]))
    }

    /// The image of latents `[1, C, H, W]`.
    private func decoded(_ latents: Tensor, _ vae: AutoencoderKL) -> StoredImage {
        StoredImage(images(withoutGradients { vae.decode(vae.config.unscaledLatents(latents)) })[0])
    }
}

extension RGBImage {
    /// `[1, 3, height, width]`, 0...1.
    fileprivate var tensor: Tensor { Tensor(pixels, shape: [1, 3, height, width]) }
}

extension ImageTextEncoder {
    /// Warns of prompts in the file `path` with more tokens than the text model takes.
    ///
    /// - Throws: the tokenizer's error for text that it cannot represent.
    func warnOfTruncation(_ prompts: [String], in path: String) throws {
        let truncated = try prompts.count { try isTruncated($0) }
        guard truncated > 0 else { return }
        let limit = model.config.textConfig.maxPositionEmbeddings - 2
        Output.warning(
            "\(path): \(truncated) prompts have more than \(limit) tokens; as in torchmetrics, their CLIP scores are "
                + "those of the start token")
    }
}
