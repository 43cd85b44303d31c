// SPDX-License-Identifier: Apache-2.0
// Shapes, keys and scores of a CLIP-proxy with random weights. ShippedClipProxyTests tests the trained one.

import Checkpoints
import Evaluation
import Files
import Foundation
import Layers
import Networks
import Tensors
import TestKit
import Testing

@testable import ShapesWorld

@Suite struct ClipProxyTests {
    private static func proxy(seed: UInt64 = 1) throws -> ClipProxy {
        let text = try TinyModel.textConfig(vocabSize: 9, maxPositionEmbeddings: 5, hiddenSize: 16)
        let config = try ClipProxyConfig(
            textConfig: text, visionChannels: [8, 16, 8], visionStrides: [1, 2, 2], normNumGroups: 4,
            projectionDim: 12)
        return try ClipProxy(
            config: config,
            parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: seed)))
        )
    }

    private static func images(_ count: Int) -> Tensor {
        var random = Philox(seed: 2)
        return random.normal([count, 3, 8, 8])
    }

    private static func ids(_ count: Int) -> [Int32] { (0..<count * 5).map { Int32($0 * $0 % 9) } }

    @Test("embeddings of images and captions are unit vectors of the projection size") func embeddings() throws {
        let proxy = try Self.proxy()
        let images = proxy.imageEmbeddings(Self.images(3))
        let captions = proxy.textEmbeddings(Self.ids(3), batch: 3)
        for embedding in [images, captions] {
            #expect(embedding.shape == [3, 12])
            expectClose(
                embedding.square().sum(axes: [1]).values.map(Double.init), [1, 1, 1], within: 1e-6)
            #expect(embedding.requiresGradient)
        }
    }

    @Test("scores are cosines of image and caption, for any number of images") func score() throws {
        let proxy = try Self.proxy()
        let (images, ids) = (Self.images(70), Self.ids(70))
        let scores = proxy.score(images, ids: ids)
        #expect(scores.count == 70)
        for index in [0, 63, 64, 69] {
            let image = proxy.imageEmbeddings(images.sliced(axis: 0, index..<index + 1))
            let caption = proxy.textEmbeddings(Array(ids[index * 5..<index * 5 + 5]), batch: 1)
            expectClose([Double(scores[index])], [Double((image * caption).sum().item)], within: 1e-5)
        }
        #expect(proxy.score(.zeros([0, 3, 8, 8]), ids: []).isEmpty)
    }

    @Test("features are the mean of the last map, and each resolution has a map") func features() throws {
        let proxy = try Self.proxy()
        let images = Self.images(66)
        let maps = proxy.imageFeatureMaps(images)
        #expect(maps.map(\.shape) == [[66, 8, 8, 8], [66, 16, 4, 4], [66, 8, 2, 2]])
        let features = proxy.imageFeatures(images)
        #expect(features.shape == [66, 8])
        #expect(!features.requiresGradient)
        expectClose(
            features.values.map(Double.init), maps[2].mean(axes: [2, 3]).values.map(Double.init), within: 1e-5
        )
    }

    @Test("the perceptual distance follows its formula") func perceptualFormula() throws {
        let proxy = try Self.proxy()
        let images = Self.images(2)
        let (one, other) = (images.sliced(axis: 0, 0..<1), images.sliced(axis: 0, 1..<2))
        var expected = 0.0
        for (u, v) in zip(proxy.imageFeatureMaps(one), proxy.imageFeatureMaps(other)) {
            let (channels, pixels) = (u.shape[1], u.shape[2] * u.shape[3])
            func unit(_ map: Tensor, _ pixel: Int) -> [Double] {
                let values = (0..<channels).map { Double(map[$0 * pixels + pixel]) }
                let length = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
                return values.map { $0 / length }
            }
            for pixel in 0..<pixels {
                expected += zip(unit(u, pixel), unit(v, pixel)).reduce(0) {
                    $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / Double(pixels)
                }
            }
        }
        expectClose(proxy.perceptualReference(other).distances(one), [expected], within: 1e-5)
    }

    @Test("the perceptual distance is 0 for equal images and grows with noise") func perceptualNoise()
        throws
    {
        let proxy = try Self.proxy()
        let images = Self.images(65)
        #expect(proxy.perceptualReference(images).distances(images) == [Double](repeating: 0, count: 65))
        var random = Philox(seed: 8)
        let noise = random.normal(images.shape)
        let means = [0.1, 0.3, 1].map { (deviation: Float) in
            MeanEstimate(of: proxy.perceptualReference(images).distances(images + noise * deviation)).mean
        }
        #expect(means[0] > 0 && means[0] < means[1] && means[1] < means[2])
    }

    @Test("the embedding of a caption depends on the order of words") func wordOrder() throws {
        let proxy = try Self.proxy()
        let embeddings = proxy.textEmbeddings([1, 2, 3, 4, 0, 1, 4, 3, 2, 0], batch: 2)
        let cosine = (embeddings.sliced(axis: 0, 0..<1) * embeddings.sliced(axis: 0, 1..<2)).sum().item
        #expect(cosine < 0.99999)
    }

    @Test("keys follow transformers' CLIPModel") func keys() throws {
        let keys = try Set(Self.proxy().store.entries.map(\.key))
        for key in [
            "logit_scale", "visual_projection.weight", "text_projection.weight",
            "vision_model.blocks.2.conv.bias", "vision_model.blocks.0.norm.weight",
            "text_model.encoder.layers.0.self_attn.q_proj.weight",
        ] {
            #expect(keys.contains(key))
        }
        #expect(!keys.contains("visual_projection.bias"))
    }

    @Test("the default architecture has 0.3 M parameters") func size() throws {
        let text = try TinyModel.textConfig(
            vocabSize: 26, maxPositionEmbeddings: 12, hiddenSize: 64, layers: 2, heads: 4)
        let proxy = try ClipProxy(
            config: ClipProxyConfig(textConfig: text),
            parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 0))))
        #expect(proxy.store.elementCount == 308_385)
    }
}

@Suite struct ClipProxyConfigTests {
    private static let text = """
        {"vocab_size": 26, "max_position_embeddings": 12, "hidden_size": 64, "intermediate_size": 256,
         "num_hidden_layers": 2, "num_attention_heads": 4}
        """

    private static func json(
        channels: String = "[8, 16]", strides: String = "[1, 2]", groups: Int = 8, width: Int = 4
    ) -> Data {
        Data(
            """
            {"vision_channels": \(channels), "vision_strides": \(strides), "norm_num_groups": \(groups),
             "projection_dim": \(width), "text_config": \(text)}
            """.utf8)
    }

    @Test("a config is equal after writing and reading") func roundTrip() throws {
        let config = try JSONDecoder().decode(ClipProxyConfig.self, from: Self.json())
        #expect(config.visionChannels == [8, 16])
        #expect(config.visionStrides == [1, 2])
        #expect(config.normNumGroups == 8)
        #expect(config.projectionDim == 4)
        #expect(config.textConfig.hiddenSize == 64)
        #expect(config.featureChannels == 16)
        let again = try JSONDecoder().decode(ClipProxyConfig.self, from: JSONEncoder().encode(config))
        #expect(again == config)
    }

    @Test(
        "sizes out of range are errors that name the key",
        arguments: [
            (
                json(strides: "[1]"),
                ConfigError.wrongCount(key: "vision_strides", value: "[1]", expected: 2)
            ),
            (
                json(strides: "[1, 3]"),
                .unsupported(key: "vision_strides", value: "[1, 3]", supported: "1 and 2")
            ),
            (
                json(channels: "[]", strides: "[]"),
                .unsupported(key: "vision_channels", value: "[]", supported: "one channel count or more")
            ),
            (
                json(channels: "[8, 12]"),
                .indivisible(key: "vision_channels", value: 12, divisorKey: "norm_num_groups", divisor: 8)
            ),
            (
                json(groups: 0),
                .unsupported(key: "norm_num_groups", value: "0", supported: "integers from 1")
            ),
            (
                json(width: -1),
                .unsupported(key: "projection_dim", value: "-1", supported: "integers from 1")
            ),
        ])
    func impossible(json: Data, error: ConfigError) {
        #expect(throws: error) { try JSONDecoder().decode(ClipProxyConfig.self, from: json) }
    }
}
