// SPDX-License-Identifier: Apache-2.0
//
// An endless captioned data set. Sample `index` of `seed` is a pure function of both: independent of batch
// size, order and threads. N samples, T tokens.

import BitsFusion

/// Captioned images of shapes, generated on the fly.
public struct ShapesDataset: Hashable, Sendable {
    /// A caption with an image that satisfies it.
    public struct Sample: Hashable, Sendable {
        public let caption: SceneCaption
        public let image: RGBImage
    }

    public let seed: UInt64
    public let mixture: FamilyMixture

    /// Random streams of one sample: changing how one thing is drawn leaves the others as they are.
    private enum Lane {
        static let caption: UInt64 = 0
        static let layout: UInt64 = 1
        static let dropping: UInt64 = 2
    }

    /// The data set `seed`, with captions drawn from the families by `mixture`.
    public init(seed: UInt64, mixture: FamilyMixture = FamilyMixture()) {
        self.seed = seed
        self.mixture = mixture
    }

    /// The caption of sample `index`.
    public func caption(at index: Int) -> SceneCaption {
        var random = stream(index, Lane.caption)
        return CaptionCatalog.draw(mixture.draw(using: &random), using: &random)
    }

    /// The scene of sample `index`, which satisfies its caption.
    public func scene(at index: Int) -> Scene {
        scene(of: caption(at: index), at: index)
    }

    /// Caption and image of sample `index`.
    public func sample(at index: Int) -> Sample {
        let caption = caption(at: index)
        return Sample(caption: caption, image: SceneRenderer.render(scene(of: caption, at: index)))
    }

    /// Whether sample `index` loses its caption when a share `probability` of the captions is dropped.
    public func dropsCaption(at index: Int, probability: Float) -> Bool {
        var random = stream(index, Lane.dropping)
        return random.uniform() < probability
    }

    /// Writes samples `first` ..< `first` + N, ready for training.
    ///
    /// - Parameters:
    ///   - first: index of the first sample.
    ///   - pixels: receives [N, 3, 32, 32], Float32, in the model's range [-1, 1].
    ///   - tokens: receives [N, T] with T = `tokenizer.length`; N is `tokens.count` / T.
    ///   - tokenizer: turns captions into ids.
    ///   - captionDropping: share of the samples, 0...1, that get the empty prompt in place of their caption.
    /// - Precondition: both buffers hold the same whole number of samples.
    /// - Complexity: O(N), about 7 µs per sample on one thread; split the range to use more.
    public func fillBatch(
        from first: Int, pixels: UnsafeMutableBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Int32>,
        tokenizer: ShapesTokenizer = ShapesTokenizer(), captionDropping: Float = 0
    ) {
        let length = tokenizer.length, values = SceneRenderer.valuesPerImage
        let count = tokens.count / length
        precondition(
            tokens.count == count * length && pixels.count == count * values,
            "fillBatch: \(pixels.count) pixel values and \(tokens.count) ids are not [N, 3, 32, 32] and [N, \(length)]"
        )
        for position in 0..<count {
            let index = first + position
            let caption = caption(at: index)
            let planes = UnsafeMutableBufferPointer(
                rebasing: pixels[position * values..<(position + 1) * values])
            SceneRenderer.render(scene(of: caption, at: index), into: planes)
            for value in planes.indices { planes[value] = 2 * planes[value] - 1 }
            let isDropped = dropsCaption(at: index, probability: captionDropping)
            let ids = isDropped ? tokenizer.emptyPrompt : tokenizer.encode(caption)
            _ = tokens[position * length..<(position + 1) * length].update(fromContentsOf: ids)
        }
    }

    private func scene(of caption: SceneCaption, at index: Int) -> Scene {
        var random = stream(index, Lane.layout)
        return SceneLayout.draw(caption, using: &random)
    }

    private func stream(_ index: Int, _ lane: UInt64) -> SceneRandom {
        SceneRandom(seed: seed, index: UInt64(bitPattern: Int64(index)), lane: lane)
    }
}
