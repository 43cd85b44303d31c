// SPDX-License-Identifier: Apache-2.0
// The keys and shapes of published architectures, without their weights.
// Fixture: python Tests/Fixtures/make_unet_fixtures.py (diffusers 0.42.1 on torch's meta device).

import Checkpoints
import Layers
import Pipelines
import Tensors
import TestKit
import Testing

@testable import Networks

/// A weight that has a shape and no values.
private final class ShapeOnlyWeight: WeightSource {
    let shape: [Int]
    init(_ shape: [Int]) { self.shape = shape }
    func tensor() -> Tensor { .zeros(shape) }
    var parameters: [Parameter] { [] }
}

private struct ShapeOnlyProvider: ParameterProvider {
    func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        ShapeOnlyWeight(shape)
    }
}

private struct PublishedModel: Decodable {
    let config: UNet2DConditionConfig
    let parameters: Int
    let elements: Int
    let fnv1a: String
    let some: [String]
}

@Suite struct UNetKeyTests {
    @Test(
        "keys and shapes are diffusers', letter for letter",
        arguments: ["stable-diffusion-1.5", "stable-diffusion-2.1", "stable-diffusion-xl"])
    func keys(name: String) throws {
        let models: [String: PublishedModel] = try fixture("unet-keys", in: .module)
        let reference = try #require(models[name])
        let store = ParameterStore(provider: ShapeOnlyProvider())
        _ = try UNet2DConditionModel(config: reference.config, parameters: ParameterPath(store))
        let lines = store.entries.map { "\($0.key) \($0.source.shape)" }.sorted()
        #expect(lines.count == reference.parameters)
        #expect(Set(reference.some).subtracting(lines) == [])
        #expect(store.elementCount == reference.elements)
        let digest = String(fnv1a(lines.joined(separator: "\n")), radix: 16)
        #expect(String(repeating: "0", count: 16 - digest.count) + digest == reference.fnv1a)
    }

    @Test(
        "Stable Diffusion 1.5 has the method's 282 layers, 24 of them time layers, and 1,008,000 / 50 features"
    )
    func layerCounts() throws {
        let models: [String: PublishedModel] = try fixture("unet-keys", in: .module)
        let store = ParameterStore(provider: ShapeOnlyProvider())
        let model = try UNet2DConditionModel(
            config: try #require(models["stable-diffusion-1.5"]).config, parameters: ParameterPath(store))
        #expect(store.weightedLayers.count == 282)
        #expect(store.weightedLayers.filter { model.layerPolicy.role(ofLayer: $0.path).isTimeLayer }.count == 24)
        #expect(model.timeFeatureChannels.reduce(0) { $0 + $1.channels } * 50 == 1_008_000)
    }
}
