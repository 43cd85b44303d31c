// SPDX-License-Identifier: Apache-2.0
// The perceptual distance on a tower so small that its maps are worked out by hand, and what any distance must do.

import Evaluation
import Foundation
import Layers
import Networks
import Tensors
import TestKit
import Testing

@testable import ShapesWorld

@Suite struct PerceptualDistanceTests {
    private static let config = try? ClipProxyConfig(
        textConfig: TinyModel.textConfig(vocabSize: 9, maxPositionEmbeddings: 5, hiddenSize: 16),
        visionChannels: [2], visionStrides: [1], normNumGroups: 1, projectionDim: 4)

    /// One map of two channels: the centre of the 3x3 kernel copies red and green, a normalization over both channels
    /// and all pixels follows, then SiLU.
    private static func copyingTower() throws -> ClipProxy {
        let config = try #require(config)
        let random = ParameterStore(provider: RandomParameterProvider(seed: 1))
        _ = try ClipProxy(config: config, parameters: ParameterPath(random))
        var tensors = Dictionary(uniqueKeysWithValues: random.entries.map { ($0.key, $0.source.tensor()) })
        var kernel = [Float](repeating: 0, count: 2 * 3 * 9)
        kernel[4] = 1  // red -> channel 0
        kernel[3 * 9 + 9 + 4] = 1  // green -> channel 1
        tensors["vision_model.blocks.0.conv.weight"] = Tensor(kernel, shape: [2, 3, 3, 3])
        tensors["vision_model.blocks.0.conv.bias"] = .zeros([2])
        tensors["vision_model.blocks.0.norm.weight"] = .full([2], 1)
        tensors["vision_model.blocks.0.norm.bias"] = .zeros([2])
        return try ClipProxy(
            config: config,
            parameters: ParameterPath(ParameterStore(provider: TensorParameterProvider(tensors))))
    }

    /// Images of pixels (red, green), one row high; blue is 0.
    private static func image(_ pixels: [(Float, Float)]) -> Tensor {
        Tensor(pixels.map(\.0) + pixels.map(\.1) + pixels.map { _ in 0 }, shape: [1, 3, 1, pixels.count])
    }

    @Test("one pixel, red against green: the squared chord between two unit vectors")
    func onePixel() throws {
        let tower = try Self.copyingTower()
        // Normalized (1, -1) and (-1, 1); SiLU makes 0.731059 and -0.268941, so the cosine between both is
        // 2 · 0.731059 · -0.268941 / (0.731059² + 0.268941²) = -0.648054, and ‖u - v‖² = 2 - 2 cos.
        let found = tower.perceptualDistances(
            Self.image([(0.5, -0.5)]), reference: Self.image([(-0.5, 0.5)]))
        expectClose(found, [2 + 2 * 0.6480542736638855], within: 1e-4)
    }

    @Test("where one of two pixels differs by as much, the mean over pixels is half of it")
    func twoPixels() throws {
        let tower = try Self.copyingTower()
        // Both images hold each value twice, so their normalization is the same.
        let reference = Self.image([(1, -1), (-1, 1)])
        let same = tower.perceptualDistances(reference, reference: reference)
        let swapped = tower.perceptualDistances(Self.image([(-1, 1), (1, -1)]), reference: reference)
        let half = tower.perceptualDistances(Self.image([(1, -1), (1, -1)]), reference: reference)
        #expect(same == [0])
        expectClose(swapped, [2 + 2 * 0.6480542736638855], within: 1e-4)
        expectClose(half, [1 + 0.6480542736638855], within: 1e-4)
    }

    private static func randomTower() throws -> ClipProxy {
        let text = try TinyModel.textConfig(vocabSize: 9, maxPositionEmbeddings: 5, hiddenSize: 16)
        let config = try ClipProxyConfig(
            textConfig: text, visionChannels: [8, 16, 8], visionStrides: [1, 2, 2], normNumGroups: 4,
            projectionDim: 12)
        return try ClipProxy(
            config: config,
            parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 3))))
    }

    @Test(
        "the distance is symmetric, and the same for a reference that is kept, whatever the number of images"
    )
    func symmetric() throws {
        let tower = try Self.randomTower()
        var random = Philox(seed: 4)
        let (a, b) = (random.normal([66, 3, 8, 8]), random.normal([66, 3, 8, 8]))
        let forwards = tower.perceptualDistances(a, reference: b)
        #expect(forwards.count == 66 && forwards.allSatisfy { $0 > 0 && $0 <= 12 })
        #expect(tower.perceptualDistances(b, reference: a) == forwards)
        let reference = PerceptualReference(b, proxy: tower)
        #expect(reference.distances(a) == forwards)
        #expect(reference.distances(b) == [Double](repeating: 0, count: 66))
        let last = tower.perceptualDistances(
            a.sliced(axis: 0, 65..<66), reference: b.sliced(axis: 0, 65..<66))
        expectClose(last, [forwards[65]], within: 1e-5)
    }
}
