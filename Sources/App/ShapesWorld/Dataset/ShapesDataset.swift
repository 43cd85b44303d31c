// SPDX-License-Identifier: Apache-2.0
// An endless captioned data set. Sample `index` of `seed` is a function of both alone: it does not depend on batch
// size, order or threads. N and B samples, T tokens.

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

    /// The data set `seed`, whose captions are drawn from the families by `mixture`.
    public init(seed: UInt64, mixture: FamilyMixture = .standard) {
        self.seed = seed
        self.mixture = mixture
    }

    /// The caption of sample `index`.
    public func caption(at index: Int) -> SceneCaption {
        var random = stream(index, RandomStream.caption)
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
        var random = stream(index, RandomStream.textDropping)
        return random.uniform() < probability
    }

    /// Writes samples `first` ..< `first` + N in the form that training takes.
    ///
    /// - Parameters:
    ///   - first: index of the first sample.
    ///   - pixels: receives [N, 3, 32, 32], Float32, in the model's range [-1, 1].
    ///   - tokens: receives [N, T] with T = `tokenizer.length`; N is `tokens.count` / T.
    ///   - tokenizer: turns captions into ids.
    ///   - textDropping: share of the samples, 0...1, whose caption is replaced by the empty prompt.
    /// - Precondition: both buffers hold the same whole number of samples.
    /// - Complexity: O(N), about 7 µs per sample on one thread.
    public func fillBatch(
        from first: Int, pixels: UnsafeMutableBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Int32>,
        tokenizer: ShapesTokenizer = ShapesTokenizer(), textDropping: Float = 0
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
            let isDropped = dropsCaption(at: index, probability: textDropping)
            let ids = isDropped ? tokenizer.emptyPrompt : tokenizer.encode(caption)
            _ = tokens[position * length..<(position + 1) * length].update(fromContentsOf: ids)
        }
    }

    private func scene(of caption: SceneCaption, at index: Int) -> Scene {
        var random = stream(index, RandomStream.layout)
        return SceneLayout.draw(caption, using: &random)
    }

    private func stream(_ index: Int, _ stream: UInt64) -> SceneRandom {
        SceneRandom(seed: seed, index: UInt64(bitPattern: Int64(index)), stream: stream)
    }
}

/// Relative weights of the six families in a data set. They need not sum to 1.
public struct FamilyMixture: Hashable, Sendable {
    /// One weight per family, in the order of `PromptFamily.allCases`.
    private let weights: [Double]

    /// Weights that favor the families that take longest to learn.
    public static let standard = FamilyMixture([
        .singleObject: 0.08, .twoObjects: 0.15, .counting: 0.2, .colors: 0.12, .position: 0.25,
        .colorAttribution: 0.2,
    ])

    /// - Parameter weights: by family; 0 for families without a weight.
    /// - Precondition: the weights are finite and >= 0, and at least one is > 0.
    public init(_ weights: [PromptFamily: Double]) {
        self.weights = PromptFamily.allCases.map { weights[$0] ?? 0 }
        precondition(Self.areValid(weights), "FamilyMixture: weights \(weights) must be finite, >= 0 and not all 0")
    }

    /// Whether `weights` are finite and >= 0, and at least one is > 0.
    static func areValid(_ weights: [PromptFamily: Double]) -> Bool {
        weights.values.allSatisfy { $0.isFinite && $0 >= 0 } && weights.values.contains { $0 > 0 }
    }

    /// The probability that a draw returns `family`.
    public func probability(of family: PromptFamily) -> Double {
        let total = weights.reduce(0, +)
        for (candidate, weight) in zip(PromptFamily.allCases, weights) where candidate == family {
            return weight / total
        }
        return 0
    }

    func draw(using random: inout SceneRandom) -> PromptFamily {
        var remaining = Double(random.uniform()) * weights.reduce(0, +)
        var drawn = PromptFamily.singleObject
        for (family, weight) in zip(PromptFamily.allCases, weights) where weight > 0 {
            drawn = family
            remaining -= weight
            if remaining < 0 { break }
        }
        return drawn
    }
}

/// Images with their captions' token ids.
public struct ShapesBatch {
    /// `[B, 3, 32, 32]` in [-1, 1].
    public let pixels: Tensor
    /// `[B · T]`.
    public let tokens: [Int32]

    /// Samples `first ..< first + count`, rendered on all threads.
    public init(
        _ dataset: ShapesDataset, from first: Int, count: Int, tokenizer: ShapesTokenizer,
        textDropping: Float = 0
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
                        tokenizer: tokenizer, textDropping: textDropping)
                }
            }
        }
        pixels = image
        tokens = ids
    }
}
