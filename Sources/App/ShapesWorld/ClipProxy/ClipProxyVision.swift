// SPDX-License-Identifier: Apache-2.0
// The image tower of the CLIP-proxy: 3x3 convolutions, each with group normalization and SiLU, then the mean over
// pixels. B batch, C channels, H W space.

import BitsFusion

/// A small convolutional encoder, with keys `blocks.N.conv` and `blocks.N.norm`.
final class ClipProxyVision {
    private let blocks: [(conv: Conv2d, norm: GroupNorm)]
    private let config: ClipProxyConfig

    /// Reads the blocks below `parameters`.
    init(_ parameters: ParameterPath, _ config: ClipProxyConfig) throws {
        self.config = config
        let inputs = [3] + config.visionChannels.dropLast()
        blocks = try config.visionChannels.indices.map { index in
            let block = parameters / "blocks" / index
            let channels = config.visionChannels[index]
            return (
                try Conv2d(
                    block / "conv", in: inputs[index], out: channels, kernel: 3,
                    stride: config.visionStrides[index], padding: Padding(1)),
                try GroupNorm(
                    block / "norm", channels: channels, groups: config.normNumGroups, epsilon: 1e-5,
                    activation: .silu)
            )
        }
    }

    /// `images` `[B, 3, H, W]` -> the last map of every resolution, `[B, C, H/2^i, W/2^i]`, finest first.
    func featureMaps(_ images: Tensor) -> [Tensor] {
        precondition(
            images.rank == 4 && images.shape[1] == 3, "CLIP-proxy: images \(images.shape), not [B, 3, H, W]")
        var maps: [Tensor] = []
        var hidden = images
        for (index, block) in blocks.enumerated() {
            if config.visionStrides[index] > 1, index > 0 { maps.append(hidden) }
            hidden = block.norm(block.conv(hidden))
        }
        return maps + [hidden]
    }

    /// `images` `[B, 3, H, W]` -> `[B, C]`, the last map's mean over its pixels.
    func callAsFunction(_ images: Tensor) -> Tensor {
        let maps = featureMaps(images)
        return maps[maps.count - 1].mean(axes: [2, 3])
    }
}
