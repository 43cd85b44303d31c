// SPDX-License-Identifier: Apache-2.0
// CLIP's vision model against transformers: all outputs and the gradients of all parameters; the configs of CLIP.
// Fixtures: python Tests/Fixtures/make_clip_score_fixtures.py (torch 2.15.0, transformers 5.24.0).

import Files
import Foundation
import Layers
import Tensors
import TestKit
import Testing

@testable import Networks

private struct CLIPVisionFixture: Decodable {
    struct Output: Decodable {
        let shape: [Int]
        let values: [Double]
    }

    let config: JSONValue
    let batch: Int
    let outputs: [String: Output]
    let gradients: [String: [Double]]
}

@Suite(.tags(.golden)) struct CLIPVisionModelTests {
    @Test("all outputs and gradients agree with transformers", arguments: ["clip", "gelu"])
    func parity(name: String) throws {
        let reference: CLIPVisionFixture = try fixture("clip-vision-\(name)", in: .module)
        let config = try CLIPVisionConfig(json: JSONEncoder().encode(reference.config))
        let model = try CLIPVisionModelWithProjection(
            config: config, parameters: ParameterPath(ParameterStore(provider: FixtureParameterProvider())))
        #expect(Set(model.store.entries.map(\.key)) == Set(reference.gradients.keys))
        let (imageEmbeds, encoder) = model.outputs(
            fixtureUnit("pixel_values", [reference.batch, 3, config.imageSize, config.imageSize]))
        let outputs = [
            "image_embeds": imageEmbeds, "last_hidden_state": encoder.lastHiddenState,
            "pooler_output": encoder.poolerOutput,
        ]
        #expect(Set(outputs.keys) == Set(reference.outputs.keys))
        var loss = Tensor([0], shape: [1])
        for (name, output) in outputs.sorted(by: { $0.key < $1.key }) {
            let expected = try #require(reference.outputs[name])
            #expect(output.shape == expected.shape, "\(name)")
            expectClose(output.values, expected.values, Tolerance.output, name)
            loss = loss + (output * fixtureUnit("loss." + name, output.shape)).sum()
        }
        loss.backward()
        expectGradients(of: model.store.parameters, reference.gradients)
    }
}

@Suite struct CLIPConfigTests {
    private static func config(_ json: String) throws -> CLIPConfig { try CLIPConfig(json: Data(json.utf8)) }

    @Test("absent keys have transformers' defaults")
    func defaults() throws {
        let config = try Self.config("{}")
        #expect(config.projectionDim == 512)
        #expect(config.textConfig.hiddenSize == 512 && config.textConfig.vocabSize == 49408)
        let vision = config.visionConfig
        #expect(vision.hiddenSize == 768 && vision.intermediateSize == 3072 && vision.numHiddenLayers == 12)
        #expect(vision.numAttentionHeads == 12 && vision.imageSize == 224 && vision.patchSize == 32)
        #expect(vision.hiddenAct == .quickGELU && vision.layerNormEps == 1e-5 && vision.numPositions == 50)
    }

    @Test("`text_config_dict` and `vision_config_dict` replace the configs beside them, as in transformers")
    func formerKeys() throws {
        let config = try Self.config(
            """
            {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 768, "torch_dtype": "float32",
             "logit_scale_init_value": 2.6592, "transformers_version": null,
             "text_config": {"hidden_size": 64, "eos_token_id": 2, "max_length": 20, "bad_words_ids": null},
             "text_config_dict": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
             "vision_config": {"hidden_size": 96, "top_k": 50, "torch_dtype": null, "pruned_heads": {}},
             "vision_config_dict": null}
            """)
        #expect(config.textConfig.hiddenSize == 768 && config.textConfig.eosTokenID == 49407)
        #expect(config.visionConfig.hiddenSize == 96 && config.projectionDim == 768)
    }

    @Test(
        "values that are not supported are errors that name config, key and value",
        arguments: [
            (#"{"vision_config": {"num_channels": 1}}"#, "vision_config", "num_channels", "1"),
            (#"{"vision_config": {"image_size": [224, 224]}}"#, "vision_config", "image_size", "[224, 224]"),
            (#"{"vision_config": {"image_size": 16}}"#, "vision_config", "image_size", "16"),
            (#"{"vision_config": {"patch_size": 225}}"#, "vision_config", "patch_size", "225"),
            (#"{"vision_config": {"hidden_act": "gelu_new"}}"#, "vision_config", "hidden_act", "\"gelu_new\""),
            (#"{"vision_config": {"model_size": 1}}"#, "vision_config", "model_size", "1"),
            (#"{"text_config": {"vocab_size": 0}}"#, "text_config", "vocab_size", "0"),
            (#"{"text_config": {"causal_attention": false}}"#, "text_config", "causal_attention", "false"),
        ])
    func unsupported(json: String, part: String, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try Self.config(json) }
        guard case .inDocument(part, .unsupported(key, value, _)) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("unknown keys and nested configs that are no objects are errors")
    func unknown() {
        for (json, key) in [(#"{"image_size": 2}"#, "image_size"), (#"{"text_config": 1}"#, "text_config")] {
            let error = #expect(throws: ConfigError.self) { try Self.config(json) }
            guard case .unsupported(key, _, _) = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
        }
    }
}
