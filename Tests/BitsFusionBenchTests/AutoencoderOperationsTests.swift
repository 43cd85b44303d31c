// SPDX-License-Identifier: Apache-2.0
// The number of operations of a decoder.

import BitsFusion
import Foundation
import Testing

@testable import BitsFusionBench

@Suite struct AutoencoderOperationsTests {
    @Test("a small decoder has the number of operations that its layers add up to")
    func small() throws {
        let json = """
            {"block_out_channels": [2, 4], "norm_num_groups": 2, "latent_channels": 3, "layers_per_block": 1,
             "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
             "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}
            """
        let config = try AutoencoderKLConfig(json: Data(json.utf8))
        // post_quant_conv, conv_in, 4 convolutions and attention in the mid block, 4 convolutions.
        let low = 6 * (3 * 3 + 9 * 3 * 4 + 4 * 9 * 16 + 4 * 16 + 2 * 6 * 4 + 4 * 9 * 16)
        // The upsampler, 2 blocks of 2 convolutions, the shortcut, conv_out.
        let high = 24 * (9 * 16 + (9 * 8 + 9 * 4) + 2 * 9 * 4 + 8 + 9 * 2 * 3)
        #expect(try config.decodingOperations(height: 2, width: 3) == Double(2 * (low + high)))
    }

    @Test("Stable Diffusion 1.5 has 2.5 TFLOP at 64x64 latents")
    func stableDiffusion() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let json = try Data(contentsOf: root.appendingPathComponent("Configs/vae-sd15.json"))
        let counted = try AutoencoderKLConfig(json: json).decodingOperations(height: 64, width: 64)
        #expect(abs(counted / 1e12 - 2.5) < 0.05)
    }
}
