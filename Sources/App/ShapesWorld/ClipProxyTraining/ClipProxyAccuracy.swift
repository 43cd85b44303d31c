// SPDX-License-Identifier: Apache-2.0
// The accuracy of a CLIP-proxy: how well it separates true captions from false ones, on held-out images.

import BitsFusion

/// Cosines of true and false pairs of image and caption, and the share of images that rank the true caption first.
public struct ClipProxyAccuracy: Hashable, Sendable {
    /// Cosine of an image with its own caption.
    public let matched: MeanEstimate
    /// Cosine of an image with another image's caption that contradicts its own.
    public let mismatched: MeanEstimate
    /// Cosine of an image with a corruption of its caption; see `ShapesCorruption`.
    public let corrupted: MeanEstimate
    /// Share of the images whose own caption scores higher than the corrupted one, 0...1.
    public let ranking: MeanEstimate
    /// `ranking` by kind of corruption.
    public let rankingByKind: [ShapesCorruption.Kind: MeanEstimate]

    /// Scores samples 0 ..< `samples` of `dataset`.
    ///
    /// - Parameters:
    ///   - proxy: the model.
    ///   - dataset: a data set with another seed than the training data.
    ///   - samples: number of images, > 0.
    public init(of proxy: ClipProxy, on dataset: ShapesDataset, samples: Int) {
        let pairs = (0..<samples).map(dataset.sample(at:))
        let images = Tensor(
            pairs.flatMap(\.image.modelRange), shape: [samples, 3, Scene.side, Scene.side])
        let corruptions = pairs.enumerated().map { index, pair in
            var random = SceneRandom(seed: dataset.seed, index: UInt64(index), stream: RandomStream.testCorruption)
            return ShapesCorruption.draw(pair.caption, using: &random)
        }
        let foreign = pairs.indices.map { index in
            Self.foreignCaption(for: pairs[index].caption, of: dataset, from: samples + index)
        }
        let tokenizer = ShapesTokenizer()
        func cosines(_ captions: [SceneCaption]) -> [Double] {
            proxy.score(images, ids: captions.flatMap(tokenizer.encode)).map(Double.init)
        }
        let trueCosines = cosines(pairs.map(\.caption))
        let corruptedCosines = cosines(corruptions.map(\.caption))
        let wins = zip(trueCosines, corruptedCosines).map { $0 > $1 ? 1.0 : 0.0 }
        matched = MeanEstimate(of: trueCosines)
        mismatched = MeanEstimate(of: cosines(foreign))
        corrupted = MeanEstimate(of: corruptedCosines)
        ranking = MeanEstimate(of: wins)
        rankingByKind = Dictionary(grouping: wins.indices) { corruptions[$0].kind }
            .mapValues { indices in MeanEstimate(of: indices.map { wins[$0] }) }
    }

    /// The first caption from sample `start` on that contradicts `caption`.
    private static func foreignCaption(
        for caption: SceneCaption, of dataset: ShapesDataset, from start: Int
    ) -> SceneCaption {
        var index = start
        while !dataset.caption(at: index).contradicts(caption) { index += 1 }
        return dataset.caption(at: index)
    }
}
