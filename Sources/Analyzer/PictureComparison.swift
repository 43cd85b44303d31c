// SPDX-License-Identifier: Apache-2.0
// The measures of one candidate: its pictures against the full-precision model's (BitsFusion, arXiv:2406.04333,
// Algorithm 1, parts 1 and 2), in units in which the data range is 1.
// K pictures, each C x H x W.

import Evaluation
import Pipelines
import Recipes
import Shapes
import Tensors

/// The full-precision pictures, and what others are compared with them by.
///
/// Pixels are clamped to [-1, 1], as in any picture file, and compared as (x + 1) / 2 in [0, 1]. Latents have no
/// fixed range: they are not clamped, and are compared in units of the range from the smallest to the largest value of
/// the reference. So PSNR = -10 log10(MSE) either way.
struct PictureComparison {
    private let reference: Tensor
    /// Width of the data range in the model's units.
    private let range: Double
    private let arePixels: Bool
    private let clip: (score: CaptionScore, reference: Double)?
    /// The reference as the scorer's image tower sees it, encoded once for all candidates.
    private let perceptual: PerceptualReference?

    /// - Parameters:
    ///   - reference: `[K, C, H, W]`, as the model makes them.
    ///   - captionScore: scores pictures against their prompts, and its encoder compares what they look like; nil
    ///     leaves CLIP drop and perceptual distance out.
    /// - Throws: `SensitivityError.referenceNotFinite`; `.clipNeedsPictures` for latents with a scorer.
    init(reference: Tensor, captionScore: CaptionScore?) throws {
        guard reference.isFinite else { throw SensitivityError.referenceNotFinite }
        arePixels = Self.arePixels(channels: reference.shape[1])
        if captionScore != nil && reference.shape[1] != 3 {
            throw SensitivityError.clipNeedsPictures(channels: reference.shape[1])
        }
        let pictures = arePixels ? Self.clamped(reference) : reference
        self.reference = pictures
        range = arePixels ? 2 : Self.range(of: pictures)
        clip = captionScore.map { ($0, $0.mean(of: pictures)) }
        perceptual = captionScore.map { PerceptualReference(pictures, proxy: $0.proxy) }
    }

    /// What `pictures` differ by from the reference.
    ///
    /// - Parameter pictures: `[K, C, H, W]`, as the quantized model makes them.
    /// - Returns: nil where they hold NaN or infinity, which no number describes.
    func measure(_ pictures: Tensor) -> SensitivityMeasure? {
        guard pictures.isFinite else { return nil }
        let pictures = arePixels ? Self.clamped(pictures) : pictures
        let mse = meanSquaredError(ofImages: pictures, reference: reference) / (range * range)
        let psnr = mse > 0 ? peakSignalToNoiseRatio(meanSquaredError: mse, dataRange: 1) : nil
        let distance = perceptual.map { reference in
            let distances = reference.distances(pictures)
            return distances.reduce(0, +) / Double(distances.count)
        }
        let drop = clip.map { $0.reference - $0.score.mean(of: pictures) }
        // Latents may be finite and so large that their squares are not.
        guard mse.isFinite, drop?.isFinite ?? true, distance?.isFinite ?? true else { return nil }
        return SensitivityMeasure(mse: mse, psnr: psnr, perceptual: distance, clipDrop: drop)
    }

    /// Grey and colour pictures have 1 and 3 channels; latents of every known autoencoder have 4 or more.
    static func arePixels(channels: Int) -> Bool { channels == 1 || channels == 3 }

    private static func clamped(_ pictures: Tensor) -> Tensor {
        let result = Tensor(unsafeUninitialized: pictures.shape)
        result.withUnsafeMutableBufferPointer { target in
            pictures.withUnsafeBufferPointer { source in
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

/// How well pictures fit the prompts that they were made from, by the CLIP-proxy.
struct CaptionScore {
    let proxy: ClipProxy
    private let ids: [Int32]

    /// - Throws: `PipelineError.vocabulary` for a proxy of other words; `CaptionError` for words that the shapes world
    ///   does not have.
    init(_ proxy: ClipProxy, prompts: [String]) throws {
        let (words, known) = (WordTokenizer.vocabularySize, proxy.config.text.vocabSize)
        guard known == words else { throw PipelineError.vocabulary(expected: words, found: known) }
        self.proxy = proxy
        let tokenizer = WordTokenizer(length: proxy.config.text.maxLength)
        ids = try prompts.flatMap { try tokenizer.encode($0) }
    }

    /// The mean cosine of `pictures` `[K, 3, H, W]` in [-1, 1] with their prompts.
    func mean(of pictures: Tensor) -> Double {
        let scores = proxy.score(pictures, ids: ids)
        return scores.reduce(0.0) { $0 + Double($1) } / Double(scores.count)
    }
}
