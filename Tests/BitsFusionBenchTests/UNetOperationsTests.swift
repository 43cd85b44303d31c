// SPDX-License-Identifier: Apache-2.0
// The number of operations of a UNet, compared with a count by hand.

import BitsFusion
import Foundation
import Testing

@testable import BitsFusionBench

@Suite struct UNetOperationsTests {
    /// Two resolutions of 4 and 8 channels, attention at the lower one.
    private static func config(_ more: String = "") throws -> UNet2DConditionConfig {
        try UNet2DConditionConfig(
            json: Data(
                """
                {"in_channels": 3, "out_channels": 3, "layers_per_block": 1, "block_out_channels": [4, 8],
                 "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                 "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
                 "cross_attention_dim": 6, "attention_head_dim": 2, "norm_num_groups": 4\(more)}
                """.utf8))
    }

    /// Multiply-adds of a residual block: two 3x3 convolutions, the time projection, the shortcut if the numbers of
    /// channels differ.
    private func resnet(_ pixels: Int, _ inputs: Int, _ outputs: Int) -> Int {
        9 * pixels * outputs * (inputs + outputs) + 16 * outputs
            + (inputs == outputs ? 0 : pixels * inputs * outputs)
    }

    /// Multiply-adds of a transformer of 8 channels over `pixels`, with `tokens` of 6 channels.
    private func transformer(_ pixels: Int, _ tokens: Int) -> Int {
        let projections = 2 * pixels * 64
        let selfAttention = 4 * pixels * 64 + 2 * pixels * pixels * 8
        let crossAttention = 2 * pixels * 64 + 2 * tokens * 6 * 8 + 2 * pixels * tokens * 8
        let feedForward = pixels * 8 * 64 + pixels * 32 * 8
        return projections + selfAttention + crossAttention + feedForward
    }

    /// Multiply-adds of `config` with `top` pixels at the first and `low` at the second resolution.
    private func multiplyAdds(top: Int, low: Int, tokens: Int) -> Int {
        let time = 4 * 16 + 16 * 16
        let down = resnet(top, 4, 4) + 9 * low * 4 * 4 + resnet(low, 4, 8) + transformer(low, tokens)
        let mid = 2 * resnet(low, 8, 8) + transformer(low, tokens)
        let up =
            resnet(low, 16, 8) + resnet(low, 12, 8) + 2 * transformer(low, tokens) + 9 * top * 8 * 8
            + resnet(top, 12, 4) + resnet(top, 8, 4)
        return 9 * top * 3 * 4 + time + down + mid + up + 9 * top * 4 * 3
    }

    @Test("the operations of a small UNet agree with a count by hand")
    func byHand() throws {
        let counted = try unetOperations(Self.config(), batch: 2, height: 8, width: 8, tokens: 5)
        #expect(counted == Double(2 * 2 * multiplyAdds(top: 64, low: 16, tokens: 5)))
    }

    @Test("odd sizes are halved like in the convolution: rounded up with padding, down without")
    func oddSizes() throws {
        let up = try unetOperations(Self.config(), batch: 1, height: 7, width: 8, tokens: 5)
        #expect(up == Double(2 * multiplyAdds(top: 56, low: 16, tokens: 5)))
        let config = try Self.config(", \"downsample_padding\": 0")
        let down = try unetOperations(config, batch: 1, height: 7, width: 8, tokens: 5)
        #expect(down == Double(2 * multiplyAdds(top: 56, low: 12, tokens: 5)))
    }

    @Test("Stable Diffusion 1.5 has 0.80 TFLOP at 64x64 latents")
    func stableDiffusion() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let json = try Data(contentsOf: root.appendingPathComponent("Configs/unet-sd15.json"))
        let counted = try unetOperations(
            UNet2DConditionConfig(json: json), batch: 1, height: 64, width: 64, tokens: 77)
        #expect(abs(counted / 1e12 - 0.80) < 0.01)
    }
}
