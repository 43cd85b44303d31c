// SPDX-License-Identifier: Apache-2.0
// The shipped CLIP-proxy on images that it was not trained on. Thresholds are at least three standard errors below the
// result on 4000 images.

import Checkpoints
import Evaluation
import Foundation
import Tensors
import TestKit
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

    @Test("true captions have higher scores than false ones", .slow) func accuracy() {
        let accuracy = ClipProxyAccuracy(of: proxy, on: dataset, samples: 400)
        #expect(accuracy.matched.mean > 0.75)
        #expect(accuracy.mismatched.mean < 0.15)
        #expect(accuracy.corrupted.mean < accuracy.matched.mean - 0.2)
        #expect(accuracy.ranking.mean >= 0.985)
    }

    @Test("scores decrease and distances increase with the noise of images", .slow) func noise() {
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
                MeanEstimate(of: proxy.perceptualReference(images).distances(noisy)).mean)
        }
        #expect(scores == scores.sorted(by: >))
        #expect(frechet == frechet.sorted())
        #expect(perceptual == perceptual.sorted())
    }

    @Test("the Fréchet distance of images is smaller than that of their coarse versions") func frechet() {
        let reference = proxy.imageFeatures(images(0..<300).images)
        let sharp = images(300..<600).images
        let coarse = sharp.reshaped([300, 3, 8, 4, 8, 4]).mean(axes: [3, 5])
            .upsampledNearest(toHeight: 32, width: 32)
        #expect(
            frechetDistance(features: proxy.imageFeatures(sharp), reference: reference)
                < frechetDistance(features: proxy.imageFeatures(coarse), reference: reference))
    }

    @Test("the file is smaller than 1 MB and has half precision") func size() throws {
        let path = try ShippedModels.clipProxy()
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        #expect(try #require(size) < 1_000_000)
        let tensors = try CheckpointReader(path, formats: [.clip]).parameters
        #expect(tensors.keys.allSatisfy { tensors.stored($0)?.type == .float16 })
    }
}
