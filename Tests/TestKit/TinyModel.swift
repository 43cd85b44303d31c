// SPDX-License-Identifier: Apache-2.0
// Models small enough to train and to sample in a test. Weights depend on the seed only.

import Foundation
import Layers
import Networks
import Pipelines
import Recipes
import ShapesWorld

/// A UNet with a cross-attention level, a plain level and a mid block, and a text encoder for the shapes world.
public enum TinyModel {
    /// Channels of the text encoder's output and of the UNet's context.
    public static let crossAttentionDim = 12

    /// `config.json` of the smallest latent UNet with every kind of layer: 4 channels at 4x4, context of 6 channels.
    public static let latentJSON = """
        {"_class_name": "UNet2DConditionModel", "sample_size": 4, "in_channels": 4, "out_channels": 4, \
        "layers_per_block": 1, "block_out_channels": [8, 16], "down_block_types": ["CrossAttnDownBlock2D", \
        "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": 6, \
        "attention_head_dim": 2, "norm_num_groups": 4}
        """

    /// An architecture for `channels` channels at 8x8 (or any even size), and for `condition` further input channels.
    public static func config(channels: Int = 3, condition: Int = 0) throws -> UNet2DConditionConfig {
        let json = """
            {"sample_size": 8, "in_channels": \(channels + condition), "out_channels": \(channels),
             "block_out_channels": [8, 16], "layers_per_block": 1, "attention_head_dim": 2,
             "cross_attention_dim": \(crossAttentionDim), "norm_num_groups": 4,
             "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
             "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
            """
        return try UNet2DConditionConfig(json: Data(json.utf8))
    }

    /// Channels of the pooled text features of `addedConfig()`.
    public static let textEmbedsDim = 10

    /// An architecture with added conditions, as SDXL's, for 4 channels at 8x8.
    public static func addedConfig() throws -> UNet2DConditionConfig {
        let json = """
            {"sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16],
             "layers_per_block": 1, "attention_head_dim": [1, 2], "cross_attention_dim": \(crossAttentionDim),
             "norm_num_groups": 4, "use_linear_projection": true, "transformer_layers_per_block": [1, 2],
             "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
             "projection_class_embeddings_input_dim": \(textEmbedsDim + 24),
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}
            """
        return try UNet2DConditionConfig(json: Data(json.utf8))
    }

    /// A UNet of `config` alone, with random weights.
    public static func pipeline(_ config: UNet2DConditionConfig, seed: UInt64 = 1) throws -> DiffusionPipeline {
        try DiffusionPipeline(
            denoiser: UNet2DConditionModel(config: config, parameters: parameters(seed)), textEncoder: nil,
            schedulerJSON: nil)
    }

    /// The architecture of a small text encoder, with the computation of the shipped one: GELU, no causal mask, a
    /// feed-forward network of four times `hiddenSize`.
    public static func textConfig(
        vocabSize: Int = ShapesTokenizer.vocabularySize, maxPositionEmbeddings: Int = 12,
        hiddenSize: Int = crossAttentionDim, layers: Int = 1, heads: Int = 2
    ) throws -> CLIPTextConfig {
        let json = """
            {"vocab_size": \(vocabSize), "max_position_embeddings": \(maxPositionEmbeddings),
             "hidden_size": \(hiddenSize), "intermediate_size": \(4 * hiddenSize), "num_hidden_layers": \(layers),
             "num_attention_heads": \(heads), "hidden_act": "gelu", "causal_attention": false}
            """
        return try CLIPTextConfig(json: Data(json.utf8))
    }

    /// A UNet with random weights.
    public static func unet(seed: UInt64 = 1, channels: Int = 3) throws -> UNet2DConditionModel {
        try UNet2DConditionModel(config: config(channels: channels), parameters: parameters(seed))
    }

    /// A UNet with random weights and, if `hasText`, a text encoder.
    public static func pipeline(
        seed: UInt64 = 1, channels: Int = 3, hasText: Bool = true, schedulerJSON: String? = nil
    ) throws -> DiffusionPipeline {
        let encoder = try hasText ? CLIPTextModel(config: textConfig(), parameters: parameters(seed)) : nil
        ShapesWorldRegistration.register()
        return try DiffusionPipeline(
            denoiser: unet(seed: seed, channels: channels), textEncoder: encoder,
            tokenizerName: hasText ? ShapesTokenizer.name : nil, schedulerJSON: schedulerJSON)
    }

    /// Every quantizable layer at `bits`, the first and the last one at 8 bits.
    public static func recipe(_ bits: Int) throws -> BitRecipe { try recipe(bits, of: config()) }

    /// The same of another architecture.
    public static func recipe(_ bits: Int, of config: UNet2DConditionConfig) throws -> BitRecipe {
        .uniform(BitWidth(bits), over: try config.inventory())
    }

    /// The manifest of files that tests write.
    public static let manifest = RunManifest(toolVersion: "0", commandLine: ["test"], seed: 1, inputs: [])

    private static func parameters(_ seed: UInt64) -> ParameterPath {
        ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: seed)))
    }
}
