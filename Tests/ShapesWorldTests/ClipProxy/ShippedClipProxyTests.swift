// SPDX-License-Identifier: Apache-2.0
// The CLIP-proxy that the library ships, on images that it has not seen. Thresholds lie three standard errors or
// more below what 4000 images gave.

import Checkpoints
import Evaluation
import Foundation
import Tensors
import Testing

@testable import QAT
@testable import ShapesWorld

@Suite struct ShippedClipProxyTests {
    private let proxy: ClipProxy
    private let dataset = ShapesDataset(seed: 20_240_607)

    init() throws {
        proxy = try ClipProxy(file: ShippedModels.clipProxy())
    }

    private func images(_ range: Range<Int>) -> (images: Tensor, ids: [Int32]) {
        let batch = ShapesBatch(
            dataset, from: range.lowerBound, count: range.count, tokenizer: ShapesTokenizer())
        return (batch.pixels, batch.tokens)
    }

    @Test("true captions score high, false ones low, and the true one nearly always wins") func accuracy() {
        let accuracy = ClipProxyAccuracy(of: proxy, on: dataset, samples: 400)
        #expect(accuracy.matched.mean > 0.75)
        #expect(accuracy.mismatched.mean < 0.15)
        #expect(accuracy.corrupted.mean < accuracy.matched.mean - 0.2)
        #expect(accuracy.ranking.mean >= 0.985)
    }

    @Test("scores fall, and both distances grow, as images drown in noise") func noise() {
        let (images, ids) = images(0..<200)
        var random = Philox(seed: 6)
        let noise = random.normal(images.shape)
        let reference = proxy.imageFeatures(images)
        var scores: [Double] = []
        var frechet: [Double] = []
        var perceptual: [Double] = []
        for deviation: Float in [0, 0.1, 0.2, 0.4, 0.8] {
            let noisy = images + noise * deviation
            scores.append(MeanEstimate(of: proxy.score(noisy, ids: ids).map(Double.init)).mean)
            frechet.append(frechetDistance(features: proxy.imageFeatures(noisy), reference: reference))
            perceptual.append(
                MeanEstimate(of: proxy.perceptualDistances(noisy, reference: images)).mean)
        }
        #expect(scores == scores.sorted(by: >))
        #expect(frechet == frechet.sorted())
        #expect(perceptual == perceptual.sorted())
    }

    @Test("fresh images are nearer to others of their kind than coarse ones") func frechet() {
        let reference = proxy.imageFeatures(images(0..<300).images)
        let fresh = images(300..<600).images
        let coarse = fresh.reshaped([300, 3, 8, 4, 8, 4]).mean(axes: [3, 5])
            .upsampledNearest(toHeight: 32, width: 32)
        #expect(
            frechetDistance(features: proxy.imageFeatures(fresh), reference: reference)
                < frechetDistance(features: proxy.imageFeatures(coarse), reference: reference))
    }

    @Test("the file is small: half precision throughout, below a megabyte") func size() throws {
        let path = try ShippedModels.clipProxy()
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        #expect(try #require(size) < 1_000_000)
        let tensors = try CheckpointReader(path, formats: [.clip]).parameters
        #expect(tensors.keys.allSatisfy { tensors.stored($0)?.type == .float16 })
    }
}
