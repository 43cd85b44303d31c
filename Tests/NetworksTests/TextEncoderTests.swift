// SPDX-License-Identifier: Apache-2.0
// The text encoder against a plain PyTorch one, and its config.
// Fixtures: python Tests/Fixtures/make_unet_fixtures.py (torch 2.15.0).

import Checkpoints
import Files
import Foundation
import Layers
import Tensors
import TestKit
import Testing

@testable import Networks

private struct TextEncoderFixture: Decodable {
    let config: TextEncoderConfig
    let ids: [Int32]
    let batch: Int
    let outputShape: [Int]
    let output: [Double]
    let gradients: [String: [Double]]
}

@Suite struct TextEncoderTests {
    @Test("outputs and all gradients agree with PyTorch", arguments: ["shapes", "clip"])
    func parity(name: String) throws {
        let fixture: TextEncoderFixture = try fixture("text-encoder-\(name)", in: .module)
        let store = ParameterStore(provider: FixtureParameterProvider())
        let encoder = try TextEncoder(config: fixture.config, parameters: ParameterPath(store))
        let output = encoder(fixture.ids, batch: fixture.batch)
        #expect(output.shape == fixture.outputShape)
        expectClose(output.values, fixture.output, Tolerance.output, "output")
        output.backward(fixtureUnit("loss", output.shape))
        expectGradients(of: store.parameters, fixture.gradients)
    }

    @Test("a config survives being written and read")
    func codable() throws {
        let config = try TextEncoderConfig(
            vocabSize: 40, maxLength: 16, width: 64, layers: 2, heads: 4, causal: true, activation: .quickGELU
        )
        #expect(try TextEncoderConfig(json: JSONEncoder().encode(config)) == config)
    }

    @Test(
        "impossible configs are errors that name the key",
        arguments: [
            (#"{"vocab_size":4,"max_length":4,"width":6,"layers":1,"heads":4}"#, "width"),
            (#"{"vocab_size":0,"max_length":4,"width":6,"layers":1,"heads":2}"#, "vocab_size"),
            (#"{"vocab_size":4,"max_length":4,"width":6,"layers":1}"#, "heads"),
            (#"{"vocab_size":4,"max_length":4,"width":6,"layers":1,"heads":2,"dropout":0.1}"#, "dropout"),
        ])
    func impossible(json: String, key: String) {
        let error = #expect(throws: ConfigError.self) { try TextEncoderConfig(json: Data(json.utf8)) }
        #expect(error?.description.contains("config key \(key):") == true)
    }
}
