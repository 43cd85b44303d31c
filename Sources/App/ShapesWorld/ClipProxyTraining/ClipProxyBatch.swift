// SPDX-License-Identifier: Apache-2.0
// The images and captions of one training step. B pairs, K hard negatives per image, T tokens.

import BitsFusion

/// A batch of captioned images with false captions.
struct ClipProxyBatch {
    /// B images with their own captions.
    let pairs: ShapesBatch
    /// B·K·T token ids: the K false captions of the first image, then of the second, ...
    let hardNegatives: [Int32]
    /// B·B flags, row i for image i: true where caption j does not contradict caption i.
    let mayMatch: [Bool]

    /// The random stream of a data set's sample that corruptions come from.
    private static let corruptionLane: UInt64 = 16

    /// Samples `first` ..< `first` + `count` of `dataset`, with K = `hardNegatives` corruptions each.
    init(
        _ dataset: ShapesDataset, from first: Int, count: Int, hardNegatives: Int, tokenizer: ShapesTokenizer
    ) {
        pairs = ShapesBatch(dataset, from: first, count: count, tokenizer: tokenizer)
        let captions = (first..<first + count).map(dataset.caption(at:))
        self.hardNegatives = captions.enumerated().flatMap { position, caption -> [Int32] in
            var random = SceneRandom(
                seed: dataset.seed, index: UInt64(first + position), lane: Self.corruptionLane)
            return (0..<hardNegatives).flatMap { _ in
                tokenizer.encode(ShapesCorruption.draw(caption, using: &random).caption)
            }
        }
        var mayMatch = [Bool](repeating: true, count: count * count)
        for i in 0..<count {
            for j in 0..<i where captions[i].contradicts(captions[j]) {
                mayMatch[i * count + j] = false
                mayMatch[j * count + i] = false
            }
        }
        self.mayMatch = mayMatch
    }
}
