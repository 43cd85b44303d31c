// SPDX-License-Identifier: Apache-2.0
// Reading a UNet's config.json: diffusers' defaults, per-block values, and errors that name key and value.

import Checkpoints
import Files
import Foundation
import Testing

@testable import Networks

private func config(_ json: String) throws -> UNet2DConditionConfig {
    try UNet2DConditionConfig(json: Data(json.utf8))
}

@Suite struct UNetConfigTests {
    @Test("an empty config is diffusers' default model")
    func defaults() throws {
        let config = try config("{}")
        #expect(config.blockOutChannels == [320, 640, 1280, 1280])
        #expect(config.downBlockTypes == [.crossAttention, .crossAttention, .crossAttention, .resnets])
        #expect(config.upBlockTypes == [.resnets, .crossAttention, .crossAttention, .crossAttention])
        #expect(config.midBlockType == .crossAttention)
        #expect(config.layersPerBlock == [2, 2, 2, 2])
        #expect(config.crossAttentionDim == [1280, 1280, 1280, 1280])
        #expect(config.numAttentionHeads == [8, 8, 8, 8])
        #expect(config.transformerLayersPerBlock == [[1, 1], [1, 1], [1, 1], [1, 1]])
        #expect(config.upTransformerLayersPerBlock == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]])
        #expect(config.timeEmbeddingDim == 1280)
        #expect(config.actFn == .silu && config.normNumGroups == 32 && config.normEps == 1e-5)
        #expect(config.sampleSize == nil && config.inChannels == 4 && config.outChannels == 4)
        #expect(config.flipSinToCos && config.freqShift == 0 && !config.useLinearProjection)
        #expect(config.downsamplePadding == 1 && config.midBlockScaleFactor == 1)
        #expect(config.usesCrossAttention)
    }

    @Test("every key at its default, as diffusers 0.42 writes it, is accepted")
    func writtenDefaults() throws {
        let config = try config(
            """
            {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1", "_name_or_path": "x",
            "act_fn": "silu", "addition_embed_type": null, "addition_embed_type_num_heads": 64,
            "addition_time_embed_dim": null, "attention_head_dim": 8, "attention_type": "default",
            "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false,
            "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3,
            "conv_out_kernel": 3, "cross_attention_dim": 1280, "cross_attention_norm": null,
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
            "DownBlock2D"], "downsample_padding": 1, "dropout": 0.0, "dual_cross_attention": false,
            "encoder_hid_dim": null, "encoder_hid_dim_type": null, "flip_sin_to_cos": true, "freq_shift": 0,
            "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": null,
            "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05,
            "norm_num_groups": 32, "num_attention_heads": null, "num_class_embeds": null,
            "only_cross_attention": false, "out_channels": 4, "projection_class_embeddings_input_dim": null,
            "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": false,
            "resnet_time_scale_shift": "default", "reverse_transformer_layers_per_block": null,
            "sample_size": null, "time_cond_proj_dim": null, "time_embedding_act_fn": null,
            "time_embedding_dim": null, "time_embedding_type": "positional", "timestep_post_act": null,
            "transformer_layers_per_block": 1, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], "upcast_attention": false,
            "use_linear_projection": false}
            """)
        #expect(
            config.blockOutChannels == (try UNet2DConditionConfig(json: Data("{}".utf8))).blockOutChannels)
    }

    @Test(
        "keys that are not followed are errors that name the key and value",
        arguments: [
            ("class_embed_type", #""timestep""#), ("num_class_embeds", "1000"), ("dropout", "0.1"),
            ("dual_cross_attention", "true"), ("attention_type", #""gated""#), ("time_cond_proj_dim", "256"),
            ("time_embedding_type", #""fourier""#), ("resnet_skip_time_act", "true"),
            ("resnet_out_scale_factor", "2"), ("resnet_time_scale_shift", #""ada_group""#),
            ("encoder_hid_dim_type", #""image_proj""#), ("addition_embed_type", #""image""#),
            ("addition_embed_type_num_heads", "8"), ("cross_attention_norm", #""layer_norm""#),
            ("class_embeddings_concat", "true"), ("mid_block_type", #""UNetMidBlock2DSimpleCrossAttn""#),
            ("mid_block_only_cross_attention", "true"), ("act_fn", #""tanh""#), ("downsample_padding", "2"),
            ("num_attention_heads", "8"), ("norm_num_groups", "null"), ("layers_per_block", "0"),
            ("in_channels", "4.5"), ("sample_size", "[1, 2, 3]"), ("attention_head_dim", #""8""#),
            ("flip_sin_to_cos", "1"), ("norm_eps", "0"), ("only_cross_attention", "0"),
            ("addition_time_embed_dim", "256"), ("mid_block_scale_factor", "0"),
            ("freq_shift", "160"), ("_class_name", #""UNet2DModel""#), ("some_new_key", "3"),
            ("another_new_key", "null"),
        ])
    func unsupported(key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try config("{\"\(key)\": \(value)}") }
        #expect(
            error?.description.hasPrefix("config key \(key): value \(value) is not supported") == true,
            "\(error?.description ?? "no error")")
    }

    @Test("the settings of diffusers' EMAModel in a config say nothing about the network")
    func movingAverages() throws {
        let json = """
            {"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 13000,
             "power": 0.6666666666666666, "update_after_step": 0, "use_ema_warmup": false, "sample_size": 64}
            """
        #expect(try UNet2DConditionConfig(json: Data(json.utf8)).sampleSize?.height == 64)
    }

    @Test("an unknown block type is an error that names it")
    func unknownBlock() {
        let error = #expect(throws: ConfigError.self) {
            try config(#"{"down_block_types": ["AttnDownBlock2D"]}"#)
        }
        #expect(error?.description.contains(#"down_block_types: value "AttnDownBlock2D""#) == true)
    }

    @Test(
        "lists that do not fit the blocks are errors",
        arguments: [
            ("block_out_channels", "[32]"), ("layers_per_block", "[1, 2]"),
            ("attention_head_dim", "[5, 10, 20]"), ("cross_attention_dim", "[1]"),
            ("transformer_layers_per_block", "[1, 2]"), ("only_cross_attention", "[true]"),
            ("up_block_types", #"["UpBlock2D"]"#), ("transformer_layers_per_block", "[[1], [1], [1], [1]]"),
        ])
    func wrongCounts(key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try config("{\"\(key)\": \(value)}") }
        guard case .wrongCount(let found, _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(found == key)
    }

    @Test("what a config needs and does not have is an error")
    func missing() {
        #expect(
            throws: ConfigError.missing(
                key: "addition_time_embed_dim", neededBy: "addition_embed_type \"text_time\"")
        ) { try config(#"{"addition_embed_type": "text_time"}"#) }
        #expect(
            throws: ConfigError.missing(
                key: "encoder_hid_dim", neededBy: "encoder_hid_dim_type \"text_proj\"")
        ) { try config(#"{"encoder_hid_dim_type": "text_proj"}"#) }
        #expect(
            throws: ConfigError.missing(
                key: "reverse_transformer_layers_per_block",
                neededBy: "transformer_layers_per_block [[1, 2], 1, 1, 1]")
        ) { try config(#"{"transformer_layers_per_block": [[1, 2], 1, 1, 1]}"#) }
    }

    @Test("channels that groups or heads cannot split are errors")
    func indivisible() {
        #expect(
            throws: ConfigError.indivisible(
                key: "block_out_channels", value: 320, divisorKey: "norm_num_groups", divisor: 7)
        ) { try config(#"{"norm_num_groups": 7}"#) }
        #expect(throws: ConfigError.self) { try config(#"{"attention_head_dim": 321}"#) }
        #expect(throws: Never.self) { try config(#"{"attention_head_dim": [8, 8, 8, 1280]}"#) }
    }

    @Test("bytes that are not a JSON object are an error", arguments: ["", "[]", "{", "3"])
    func notAnObject(text: String) {
        #expect(throws: ConfigError.notAnObject(document: "UNet config.json")) { try config(text) }
    }

    @Test("the original text is kept, and equality looks at the content")
    func originalText() throws {
        let text = #"{"in_channels" : 3, "_note": [1, {"a": null}]}"#
        let first = try config(text)
        #expect(first.json == Data(text.utf8))
        #expect(first == (try config(#"{"_note":[1,{"a":null}],"in_channels":3}"#)))
        #expect(first != (try config(#"{"in_channels": 3}"#)))
        let copy = try JSONDecoder().decode(
            UNet2DConditionConfig.self, from: JSONEncoder().encode(first))
        #expect(copy == first && copy.inChannels == 3)
    }
}
