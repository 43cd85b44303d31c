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
        guard let vae = try model.decoder() else {
            preconditionFailure("\(model.name): no VAE; the command checks it")
        }
        let reporter = progress("\(model.name): decoding")
        let size = try model.imageSize(of: options.size)
        let chunks = stride(from: 0, to: prompts.count, by: Self.chunk).map {
            $0..<min($0 + Self.chunk, prompts.count)
        }
        var decodingSeconds = 0.0
        var comparison = reference.map { _ in ImageErrors() }
        var (kept, features): ([StoredImage], [Float]) = ([], [])
        try communicator.distributeInOrder(Array(chunks.indices)) { chunk in
            let start = ContinuousClock.now
            let images = try chunks[chunk].map { index in
                try InterruptFlag.check()
                if communicator.size == 1 { reporter.update(index) }
                return decoded(sampled.latents.sliced(axis: 0, index..<index + 1), vae)
            }
            let seconds = Numbers.seconds(start.duration(to: .now))
            return DecodedChunk(seconds: seconds, images: images, features: clip.imageFeatures(images.map(\.image)))
                .message
        } collect: { chunk, message in
            let decoded = DecodedChunk(message, images: chunks[chunk].count, size: size)
            decodingSeconds += decoded.seconds
            features += decoded.features.values
            for (index, image) in zip(chunks[chunk], decoded.images) {
                if let reference { comparison?.add(image.image, reference: reference[index].image) }
                if reference == nil || index < shown { kept.append(image) }
            }
            reporter.update(chunks[chunk].upperBound)
        }
        reporter.endLine()
        guard communicator.isFirst else { return nil }
        let all = Tensor(features, shape: [prompts.count, features.count / max(prompts.count, 1)])
        let seconds = sampled.seconds + decodingSeconds / Double(communicator.size)
        return ImageMeasurements(
            features: all, scores: clipScores(imageFeatures: all, textFeatures: textFeatures), comparison: comparison,
            secondsPerImage: seconds / Double(prompts.count), size: sampled.size, images: kept)
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

    /// The image of latents `[1, C, H, W]`.
    private func decoded(_ latents: Tensor, _ vae: AutoencoderKL) -> StoredImage {
        StoredImage(images(withoutGradients { vae.decode(vae.config.unscaledLatents(latents)) })[0])
    }
}

/// The images of a chunk with their CLIP features, as one message of a process.
private struct DecodedChunk {
    /// The time of decoding.
    let seconds: Double
    let images: [StoredImage]
    /// One row for each image.
    let features: Tensor

    init(seconds: Double, images: [StoredImage], features: Tensor) {
        (self.seconds, self.images, self.features) = (seconds, images, features)
    }

    var message: [UInt8] {
        withUnsafeBytes(of: seconds.bitPattern) { Array($0) }
            + features.withUnsafeBufferPointer { Array(UnsafeRawBufferPointer($0)) } + images.flatMap(\.bytes)
    }

    /// The chunk of a message.
    init(_ message: [UInt8], images count: Int, size: SampleSize) {
        let (header, imageBytes) = (MemoryLayout<UInt64>.size, 3 * size.height * size.width)
        let firstImage = message.count - count * imageBytes
        let (bits, values) = message.withUnsafeBytes { bytes in
            (
                bytes.loadUnaligned(as: UInt64.self),
                (0..<(firstImage - header) / 4).map {
                    bytes.loadUnaligned(fromByteOffset: header + 4 * $0, as: Float.self)
                }
            )
        }
        seconds = Double(bitPattern: bits)
        features = Tensor(values, shape: [count, values.count / max(count, 1)])
        images = (0..<count).map { index in
            let start = firstImage + index * imageBytes
            return StoredImage(message[start..<start + imageBytes], size: size)
        }
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
