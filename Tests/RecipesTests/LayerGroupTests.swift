// SPDX-License-Identifier: Apache-2.0
// Every layer of Stable Diffusion 1.5 has its place.

import Testing

@testable import Recipes

@Suite struct LayerGroupTests {
    @Test(
        "the module path tells the place",
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
    func places(path: String, place: LayerGroup) {
        #expect(LayerGroup(of: LayerID(path)) == place)
    }

    @Test("Stable Diffusion 1.5 has 16 transformers, 22 residual blocks, 14 shortcuts and 6 resamplings")
    func stableDiffusion() throws {
        let layers = try RecipeFixtures.stableDiffusion15().quantizedLayers
        let counts = Dictionary(grouping: layers) { LayerGroup(of: $0.path) }.mapValues(\.count)
        #expect(
            counts == [
                .selfAttention: 64, .crossAttentionQuery: 16, .crossAttentionKeyValue: 32,
                .crossAttentionOut: 16,
                .feedForward: 32, .residualConvolution: 44, .shortcut: 14, .projection: 32, .resampling: 6,
                .firstOrLast: 2,
            ])
    }
}
