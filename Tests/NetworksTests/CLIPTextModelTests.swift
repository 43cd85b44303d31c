// SPDX-License-Identifier: Apache-2.0
// CLIP's text encoders against transformers: all outputs and the gradients of all parameters.
// Fixtures: python Tests/Fixtures/make_text_encoder_fixtures.py (torch 2.15.0, transformers 5.24.0).

import Files
import Foundation
import Layers
import Tensors
import TestKit
import Testing

@testable import Networks

private struct CLIPTextFixture: Decodable {
    struct Output: Decodable {
        let shape: [Int]
        let values: [Double]
    }

    let config: CLIPTextConfig
    let ids: [Int32]
    let batch: Int
    let outputs: [String: Output]
    let gradients: [String: [Double]]

    static func read(_ name: String) throws -> CLIPTextFixture {
        try fixture("text-encoder-\(name)", in: .module)
    }

    var parameters: ParameterPath { ParameterPath(ParameterStore(provider: FixtureParameterProvider())) }
}

@Suite(.tags(.golden)) struct CLIPTextModelTests {
    /// Outputs by the names of transformers.
    private static func named(_ outputs: CLIPTextOutput) -> [String: Tensor] {
        var result = ["last_hidden_state": outputs.lastHiddenState, "pooler_output": outputs.poolerOutput]
        for (index, state) in outputs.hiddenStates.enumerated() { result["hidden_states.\(index)"] = state }
        return result
    }

    private static func expectParity(
        _ outputs: [String: Tensor], _ parameters: [Parameter], _ fixture: CLIPTextFixture
    ) throws {
        #expect(Set(outputs.keys) == Set(fixture.outputs.keys))
        var loss = Tensor([0], shape: [1])
        for (name, output) in outputs.sorted(by: { $0.key < $1.key }) {
            let reference = try #require(fixture.outputs[name])
            #expect(output.shape == reference.shape, "\(name)")
            expectClose(output.values, reference.values, Tolerance.output, name)
            loss = loss + (output * fixtureUnit("loss." + name, output.shape)).sum()
        }
        loss.backward()
        expectGradients(of: parameters, fixture.gradients)
    }

    @Test("all outputs and gradients agree with transformers", arguments: ["clip", "shapes"])
    func parity(name: String) throws {
        let fixture = try CLIPTextFixture.read(name)
        let model = try CLIPTextModel(config: fixture.config, parameters: fixture.parameters)
        let outputs = model.outputs(fixture.ids, batch: fixture.batch)
        try Self.expectParity(Self.named(outputs), model.store.parameters, fixture)
    }

    @Test(
        "projected embeddings and gradients agree with transformers", arguments: ["clip-projection", "clip-largest-id"])
    func parityWithProjection(name: String) throws {
        let fixture = try CLIPTextFixture.read(name)
        let model = try CLIPTextModelWithProjection(config: fixture.config, parameters: fixture.parameters)
        let (textEmbeds, encoder) = model.outputs(fixture.ids, batch: fixture.batch)
        var outputs = Self.named(encoder)
        outputs["text_embeds"] = textEmbeds
        try Self.expectParity(outputs, model.store.parameters, fixture)
    }

    @Test("the last hidden state alone has the same bits as among all outputs")
    func lastHiddenState() throws {
        let fixture = try CLIPTextFixture.read("clip")
        let model = try CLIPTextModel(config: fixture.config, parameters: fixture.parameters)
        let outputs = model.outputs(fixture.ids, batch: fixture.batch)
        #expect(model(fixture.ids, batch: fixture.batch).values == outputs.lastHiddenState.values)
        #expect(model.finalLayerNorm(outputs.hiddenStates[2]).values == outputs.lastHiddenState.values)
    }

    @Test("the pooled position is that of the first end token, or of the largest id where eos_token_id is 2")
    func pooledPosition() throws {
        func pooledRows(endToken: Int, _ ids: [Int32]) throws -> [Int?] {
            let json = """
                {"vocab_size": 10, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
                 "num_attention_heads": 1, "max_position_embeddings": 5, "eos_token_id": \(endToken)}
                """
            let model = try CLIPTextModel(
                config: CLIPTextConfig(json: Data(json.utf8)),
                parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 1))))
            let outputs = model.outputs(ids, batch: 2)
            return (0..<2).map { text in
                let pooled = outputs.poolerOutput.sliced(axis: 0, text..<text + 1).values
                return (0..<5).first { position in
                    outputs.lastHiddenState.sliced(axis: 0, text..<text + 1)
                        .sliced(axis: 1, position..<position + 1).values == pooled
                }
            }
        }
        #expect(try pooledRows(endToken: 7, [1, 9, 7, 7, 7, 1, 2, 3, 4, 7]) == [2, 4])
        #expect(try pooledRows(endToken: 7, [1, 2, 3, 4, 5, 7, 1, 1, 1, 1]) == [0, 0])
        #expect(try pooledRows(endToken: 2, [1, 9, 2, 9, 9, 2, 2, 3, 4, 2]) == [1, 3])
    }
}

@Suite struct CLIPTextConfigTests {
    private static func config(_ json: String) throws -> CLIPTextConfig { try CLIPTextConfig(json: Data(json.utf8)) }

    @Test("absent keys have transformers' defaults")
    func defaults() throws {
        let config = try Self.config("{}")
        #expect(config.vocabSize == 49408 && config.hiddenSize == 512 && config.intermediateSize == 2048)
        #expect(config.projectionDim == 512 && config.numHiddenLayers == 12 && config.numAttentionHeads == 8)
        #expect(config.maxPositionEmbeddings == 77 && config.hiddenAct == .quickGELU && config.layerNormEps == 1e-5)
        #expect(config.eosTokenID == 49407 && config.causalAttention)
    }

    @Test("the config of Stable Diffusion XL's second encoder is read, and written without a change")
    func published() throws {
        let json = """
            {"architectures": ["CLIPTextModelWithProjection"], "attention_dropout": 0.0, "bos_token_id": 0,
             "dropout": 0.0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_size": 1280,
             "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 5120, "layer_norm_eps": 1e-05,
             "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 20,
             "num_hidden_layers": 32, "pad_token_id": 1, "projection_dim": 1280, "torch_dtype": "float16",
             "transformers_version": "4.32.0.dev0", "vocab_size": 49408, "_name_or_path": "text_encoder_2"}
            """
        let config = try Self.config(json)
        #expect(config.numHiddenLayers == 32 && config.projectionDim == 1280 && config.hiddenAct == .gelu)
        let written = try JSONEncoder().encode(config)
        #expect(try CLIPTextConfig(json: written) == config)
        let keys = try #require(JSONSerialization.jsonObject(with: written) as? [String: Any]).keys
        #expect(keys.count == 21 && keys.contains("architectures"))
    }

    @Test("\"swish\" is another name of SiLU")
    func activationName() throws {
        #expect(try Self.config(#"{"hidden_act": "swish"}"#).hiddenAct == .silu)
    }

    @Test(
        "values that are not supported are errors that name key and value",
        arguments: [
            (#"{"hidden_act": "gelu_new"}"#, "hidden_act", "\"gelu_new\""),
            (#"{"vocab_size": 0}"#, "vocab_size", "0"),
            (#"{"hidden_size": 2.5}"#, "hidden_size", "2.5"),
            (#"{"num_hidden_layers": 1000}"#, "num_hidden_layers", "1000"),
            (#"{"layer_norm_eps": 0}"#, "layer_norm_eps", "0"),
            (#"{"eos_token_id": [2, 3]}"#, "eos_token_id", "[2, 3]"),
            (#"{"eos_token_id": null}"#, "eos_token_id", "null"),
            (#"{"causal_attention": 1}"#, "causal_attention", "1"),
            (#"{"pruned_heads": {"0": [1]}}"#, "pruned_heads", "{\"0\": [1]}"),
            (#"{"text_config": {}}"#, "text_config", "{}"),
            (#"{"max_length": 12}"#, "max_length", "12"),
        ])
    func unsupported(json: String, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try Self.config(json) }
        guard case .unsupported(key, value, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("heads that do not divide the hidden size are an error")
    func indivisible() {
        let error = ConfigError.indivisible(
            key: "hidden_size", value: 6, divisorKey: "num_attention_heads", divisor: 4)
        #expect(throws: error) { try Self.config(#"{"hidden_size": 6, "num_attention_heads": 4}"#) }
    }

    @Test("text that is not a JSON object is an error")
    func notAnObject() {
        #expect(throws: ConfigError.notAnObject(document: "text encoder config.json")) { try Self.config("[1]") }
    }
}
