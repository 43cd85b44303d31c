// SPDX-License-Identifier: Apache-2.0
// The perceptual distance on maps that are computed by hand, and its symmetry.

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

    /// One map of two channels: the center of the 3x3 kernel copies red and green; a normalization over both channels
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

    /// An image of one row of pixels (red, green); blue is 0.
    private static func image(_ pixels: [(Float, Float)]) -> Tensor {
        Tensor(pixels.map(\.0) + pixels.map(\.1) + pixels.map { _ in 0 }, shape: [1, 3, 1, pixels.count])
    }

    @Test("the distance of a red and a green pixel is the squared distance of two unit vectors")
    func onePixel() throws {
        let tower = try Self.copyingTower()
        // Normalized to (1, -1) and (-1, 1); SiLU of 1 and -1 is 0.731059 and -0.268941, so that the cosine of both is
        // 2 · 0.731059 · -0.268941 / (0.731059² + 0.268941²) = -0.648054, and ‖u - v‖² = 2 - 2 cos.
        let found = tower.perceptualReference(Self.image([(-0.5, 0.5)])).distances(Self.image([(0.5, -0.5)]))
        expectClose(found, [2 + 2 * 0.6480542736638855], within: 1e-4)
    }

    @Test("the distance is the mean over pixels")
    func twoPixels() throws {
        let tower = try Self.copyingTower()
        // All images have the same values, so that their normalization is the same.
        let reference = Self.image([(1, -1), (-1, 1)])
        let same = tower.perceptualReference(reference).distances(reference)
        let swapped = tower.perceptualReference(reference).distances(Self.image([(-1, 1), (1, -1)]))
        let half = tower.perceptualReference(reference).distances(Self.image([(1, -1), (1, -1)]))
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

    @Test("the distance is symmetric, and does not depend on the number of images")
    func symmetric() throws {
        let tower = try Self.randomTower()
        var random = Philox(seed: 4)
        let (a, b) = (random.normal([66, 3, 8, 8]), random.normal([66, 3, 8, 8]))
        let reference = tower.perceptualReference(b)
        let distances = reference.distances(a)
        #expect(distances.count == 66 && distances.allSatisfy { $0 > 0 && $0 <= 12 })
        #expect(tower.perceptualReference(a).distances(b) == distances)
        #expect(reference.distances(b) == [Double](repeating: 0, count: 66))
        let last = tower.perceptualReference(b.sliced(axis: 0, 65..<66)).distances(a.sliced(axis: 0, 65..<66))
        expectClose(last, [distances[65]], within: 1e-5)
    }
}
