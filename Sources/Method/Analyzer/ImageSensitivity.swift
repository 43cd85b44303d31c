// SPDX-License-Identifier: Apache-2.0
// The scores of one candidate: its images compared with the full-precision model's (BitsFusion, arXiv:2406.04333,
// Algorithm 1, parts 1 and 2), in units in which the data range is 1.
// K images, each C x H x W.

import Evaluation
import Pipelines
import Recipes
import Tensors

/// The full-precision images, and the metrics that compare others with them.
///
/// Pixels are clamped to [-1, 1], as in image files, and compared as (x + 1) / 2 in [0, 1]. Latents have no fixed
/// range: they are not clamped, and compared in units of the range of the reference's values. In both cases PSNR = -10
/// log10(MSE). Prompt scorers get images: pixels, or decoded latents.
struct ImageSensitivity {
    private let reference: Tensor
    /// The size of the data range in the model's units.
    private let range: Double
    private let arePixels: Bool
    /// Latents to images; nil for pixels.
    private let decode: ((Tensor) -> Tensor)?
    private let clip: (score: CaptionScore, reference: Double)?
    /// The reference in the scorer's feature space, encoded once for all candidates.
    private let perceptual: (any PerceptualDistance)?

    /// - Parameters:
    ///   - reference: `[K, C, H, W]`, as the model makes them.
    ///   - isLatent: whether they are latents, not images in [-1, 1].
    ///   - captionScore: gives the CLIP drop and, if it is a perceptual encoder, the perceptual distance; nil leaves
    ///     both out.
    ///   - decode: converts latents to images `[K, 3, H', W']`; only a scorer needs it.
    /// - Throws: `SensitivityError.referenceNotFinite`; `.clipNeedsImages` for latents with a scorer and without
    ///   `decode`; what the scorer throws.
    init(
        reference: Tensor, isLatent: Bool, captionScore: CaptionScore?, decode: ((Tensor) -> Tensor)? = nil
    ) throws {
        guard reference.isFinite else { throw SensitivityError.referenceNotFinite }
        arePixels = !isLatent
        self.decode = isLatent ? decode : nil
        if captionScore != nil && reference.shape[1] != 3 && self.decode == nil {
            throw SensitivityError.clipNeedsImages(channels: reference.shape[1])
        }
        let images = arePixels ? Self.clamped(reference) : reference
        self.reference = images
        range = arePixels ? 2 : Self.range(of: images)
        let scored = captionScore == nil ? images : Self.scored(images, self.decode)
        clip = try captionScore.map { ($0, try $0.mean(of: scored)) }
        perceptual = (captionScore?.scorer as? any PerceptualEncoder)?.perceptualReference(scored)
    }

    /// The images of `samples` for the scorer, in [-1, 1].
    private static func scored(_ samples: Tensor, _ decode: ((Tensor) -> Tensor)?) -> Tensor {
        decode.map { clamped($0(samples)) } ?? samples
    }

    /// The differences of `images` from the reference.
    ///
    /// - Parameter images: `[K, C, H, W]`, as the quantized model makes them.
    /// - Returns: nil where they contain NaN or infinity.
    /// - Throws: what the prompt scorer throws.
    func measure(_ images: Tensor) throws -> SensitivityScores? {
        guard images.isFinite else { return nil }
        let images = arePixels ? Self.clamped(images) : images
        let mse = meanSquaredError(ofImages: images, reference: reference) / (range * range)
        let psnr = mse > 0 ? peakSignalToNoiseRatio(meanSquaredError: mse, dataRange: 1) : nil
        let scored = clip == nil ? images : Self.scored(images, decode)
        guard scored.isFinite else { return nil }
        let distance = perceptual.map { reference in
            let distances = reference.distances(scored)
            return distances.reduce(0, +) / Double(distances.count)
        }
        let drop = try clip.map { $0.reference - (try $0.score.mean(of: scored)) }
        // The squares of finite latents may be infinite.
        guard mse.isFinite, drop?.isFinite ?? true, distance?.isFinite ?? true else { return nil }
        return SensitivityScores(mse: mse, psnr: psnr, perceptual: distance, clipDrop: drop)
    }

    private static func clamped(_ images: Tensor) -> Tensor {
        let result = Tensor(unsafeUninitialized: images.shape)
        result.withUnsafeMutableBufferPointer { target in
            images.withUnsafeBufferPointer { source in
                for index in source.indices { target[index] = min(max(source[index], -1), 1) }
            }
        }
        return result
    }

    private static func range(of values: Tensor) -> Double {
        values.withUnsafeBufferPointer { values in
            guard let smallest = values.min(), let largest = values.max(), largest > smallest else {
                return 1
            }
            return Double(largest) - Double(smallest)
        }
    }
}

/// The prompts of the compared images, and their scorer.
struct CaptionScore {
    let scorer: any PromptScorer
    private let prompts: [String]

    /// - Throws: what `scorer.validate(prompts:)` throws.
    init(_ scorer: any PromptScorer, prompts: [String]) throws {
        try scorer.validate(prompts: prompts)
        (self.scorer, self.prompts) = (scorer, prompts)
    }

    /// The mean cosine similarity of `images` `[K, 3, H, W]` in [-1, 1] and their prompts.
    func mean(of images: Tensor) throws -> Double {
        let scores = try scorer.scores(of: images, prompts: prompts)
        return scores.reduce(0, +) / Double(scores.count)
    }
}
