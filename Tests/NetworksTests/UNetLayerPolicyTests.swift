// SPDX-License-Identifier: Apache-2.0
// The role and the group of each layer of a UNet.

import Foundation
import Recipes
import Testing

@testable import Networks

@Suite struct UNetLayerPolicyTests {
    /// The config that the project ships.
    private static let stableDiffusion15 = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Configs/unet-sd15.json")

    @Test(
        "the path of a layer decides its role",
        arguments: [
            ("time_embedding.linear_1", LayerRole.timeEmbedding),
            ("time_embedding.cond_proj", .timeEmbedding),
            ("add_embedding.linear_2", .timeEmbedding),
            ("class_embedding", .timeEmbedding),
            ("class_embedding.linear_1", .timeEmbedding),
            ("down_blocks.0.resnets.1.time_emb_proj", .timeProjection),
            ("conv_in", .firstOrLast),
            ("conv_out", .firstOrLast),
            ("down_blocks.0.downsamplers.0.conv", .searched),
            ("up_blocks.1.resnets.0.conv_shortcut", .searched),
            ("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", .searched),
            ("time_embedding_2", .searched),
            ("encoder.conv_in", .searched),
        ])
    func role(path: String, role: LayerRole) {
        #expect(UNetLayerPolicy().role(ofLayer: path) == role)
        #expect(role.isQuantized != role.isTimeLayer)
    }

    @Test(
        "the path of a layer decides its group",
        arguments: [
            ("down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q", LayerGroup.selfAttention),
            ("down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_k", .selfAttention),
            ("mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", .selfAttention),
            ("up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_q", .crossAttentionQuery),
            ("up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k", .crossAttentionKeyValue),
            ("up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_v", .crossAttentionKeyValue),
            ("up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0", .crossAttentionOut),
            ("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", .feedForward),
            ("mid_block.attentions.0.transformer_blocks.0.ff.net.2", .feedForward),
            ("down_blocks.2.resnets.1.conv1", .residualConvolution),
            ("mid_block.resnets.1.conv2", .residualConvolution),
            ("up_blocks.3.resnets.0.conv_shortcut", .shortcut),
            ("down_blocks.1.attentions.0.proj_in", .projection),
            ("down_blocks.1.attentions.0.proj_out", .projection),
            ("down_blocks.0.downsamplers.0.conv", .resampling),
            ("up_blocks.0.upsamplers.0.conv", .resampling),
            ("conv_in", .firstOrLast), ("conv_out", .firstOrLast),
            ("time_embedding.linear_1", .other), ("mid.conv_in", .other), ("", .other),
        ])
    func group(path: String, group: LayerGroup) {
        #expect(UNetLayerPolicy().group(ofLayer: path) == group)
    }

    @Test("Stable Diffusion 1.5 has 16 transformers, 22 residual blocks, 14 shortcuts and 6 resamplings")
    func stableDiffusion() throws {
        let config = try UNet2DConditionConfig(json: Data(contentsOf: Self.stableDiffusion15))
        let counts = Dictionary(grouping: try config.inventory().quantizedLayers, by: \.group).mapValues(\.count)
        #expect(
            counts == [
                .selfAttention: 64, .crossAttentionQuery: 16, .crossAttentionKeyValue: 32, .crossAttentionOut: 16,
                .feedForward: 32, .residualConvolution: 44, .shortcut: 14, .projection: 32, .resampling: 6,
                .firstOrLast: 2,
            ])
    }
}
