// SPDX-License-Identifier: Apache-2.0
// The UNet against diffusers: output and every parameter's gradient of tiny models of each supported variant.
// Fixtures: python Tests/Fixtures/make_unet_fixtures.py (torch 2.15.0, diffusers 0.42.1).

import Foundation
import Layers
import Tensors
import TestKit
import Testing

@testable import Networks

/// One `unet-*.json`.
struct UNetFixture: Decodable {
    let config: UNet2DConditionConfig
    let sampleShape: [Int]
    let timesteps: [Float]
    let context: [Int]?
    let outputShape: [Int]
    let output: [Double]
    let gradients: [String: [Double]]

    static let names = [
        "sd1", "sd2", "sdxl", "odd-size", "pixels", "unconditional", "asymmetric", "projected-context",
    ]

    func model() throws -> UNet2DConditionModel {
        let store = ParameterStore(provider: FixtureParameterProvider())
        return try UNet2DConditionModel(config: config, parameters: ParameterPath(store))
    }

    var sample: Tensor { fixtureUnit("sample", sampleShape) }
    var times: Tensor { Tensor(timesteps, shape: [timesteps.count]) }
    var encoderHiddenStates: Tensor? { context.map { fixtureUnit("context", [timesteps.count] + $0) } }
    var added: AddedConditions? {
        guard let width = config.projectionClassEmbeddingsInputDim, let each = config.additionTimeEmbedDim
        else {
            return nil
        }
        let batch = timesteps.count
        let sizes: [Float] = [512, 768, 0, 16, 1024, 1024]
        return AddedConditions(
            textEmbeds: fixtureUnit("text", [batch, width - 6 * each]),
            timeIDs: Tensor((0..<batch).flatMap { _ in sizes }, shape: [batch, 6]))
    }
}

@Suite(.tags(.golden)) struct UNetParityTests {
    @Test("outputs and all gradients agree with diffusers", arguments: UNetFixture.names)
    func parity(name: String) throws {
        let fixture: UNetFixture = try fixture("unet-\(name)", in: .module)
        let model = try fixture.model()
        let output = model(
            fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates,
            addedConditions: fixture.added)
        #expect(output.shape == fixture.outputShape)
        expectClose(output.values, fixture.output, Tolerance.output, "output of \(name)")

        output.backward(fixtureUnit("loss", output.shape))
        expectGradients(of: model.store.parameters, fixture.gradients)
    }

    @Test("one timestep for the whole batch equals the same timestep per sample")
    func broadcastTimestep() throws {
        let fixture: UNetFixture = try fixture("unet-sd1", in: .module)
        let model = try fixture.model()
        let shared = model(
            fixture.sample, timesteps: Tensor([500], shape: [1]),
            encoderHiddenStates: fixture.encoderHiddenStates)
        let each = model(
            fixture.sample, timesteps: Tensor([500, 500], shape: [2]),
            encoderHiddenStates: fixture.encoderHiddenStates)
        expectClose(shared, each, Tolerance.sameArithmetic, "prediction")
    }

    @Test("block features are every block's output, differentiable, and collected again by each pass")
    func blockFeatures() throws {
        let fixture: UNetFixture = try fixture("unet-sd1", in: .module)
        let model = try fixture.model()
        let features = BlockFeatures()
        for _ in 0..<2 {
            _ = model(
                fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates,
                features: features)
        }
        #expect(
            features.outputs(of: .down).map(\.shape) == [[2, 8, 4, 4], [2, 16, 2, 2], [2, 16, 1, 1], [2, 16, 1, 1]])
        #expect(features.outputs(of: .mid).first?.shape == [2, 16, 1, 1])
        #expect(
            features.outputs(of: .up).map(\.shape) == [[2, 16, 2, 2], [2, 16, 4, 4], [2, 16, 8, 8], [2, 8, 8, 8]])
        #expect(features.compared.count == 8)
        features.outputs(of: .down)[0].square().sum().backward()
        let touched = model.store.parameters.filter { $0.gradient != nil }.map(\.name)
        #expect(touched.contains("down_blocks.0.downsamplers.0.conv.weight"))
        #expect(!touched.contains { $0.hasPrefix("down_blocks.1") })
    }

    @Test("a layer's weight can be replaced in place, and the prediction follows")
    func replacedWeight() throws {
        let fixture: UNetFixture = try fixture("unet-pixels", in: .module)
        let model = try fixture.model()
        let layer = try #require(model.store.layer(at: "conv_out"))
        layer.weight = Parameter("conv_out.weight", .zeros(layer.weight.shape))
        let output = model(
            fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates)
        let bias = try #require(layer.bias).value.values
        let pixels = fixture.sampleShape[2] * fixture.sampleShape[3]
        #expect(output.values == bias.flatMap { [Float](repeating: $0, count: pixels) })
        #expect(model.store.parameters.contains { $0 === layer.weight })
    }
}
