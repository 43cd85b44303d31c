// SPDX-License-Identifier: Apache-2.0
// Encoder and decoder of a variational autoencoder. Match diffusers `Encoder` and `Decoder`
// (models/autoencoders/vae.py) and the blocks that they are built from (models/unets/unet_2d_blocks.py).
// Feature maps are replaced block by block, because those of the decoder are the largest tensors of a whole pipeline.
// B batch, L latent channels, C channels, H W size.

import Layers
import Tensors

extension AutoencoderKLConfig {
    /// The epsilon of all group normalization layers.
    static let normEpsilon: Float = 1e-6

    var resnetSettings: ResnetSettings {
        ResnetSettings(
            groups: normNumGroups, epsilon: Self.normEpsilon, activation: actFn, timeScaleShift: .added, timeWidth: nil)
    }

    /// `conv_norm_out` with `conv_act`, which is SiLU regardless of `act_fn`.
    func normOut(_ parameters: ParameterPath, channels: Int) throws -> GroupNorm {
        try GroupNorm(
            parameters / "conv_norm_out", channels: channels, groups: normNumGroups, epsilon: Self.normEpsilon,
            activation: .silu)
    }

    /// Channels of the lowest resolution.
    var lastChannels: Int { blockOutChannels[blockOutChannels.count - 1] }
}

/// Images to the moments of their latents, without `quant_conv`.
final class AutoencoderEncoder {
    private let convIn, convOut: Conv2d
    private let downBlocks: [AutoencoderDownBlock]
    private let midBlock: AutoencoderMidBlock
    private let convNormOut: GroupNorm

    init(_ parameters: ParameterPath, _ config: AutoencoderKLConfig) throws {
        let channels = config.blockOutChannels
        convIn = try Conv2d(
            parameters / "conv_in", in: config.inChannels, out: channels[0], kernel: 3, padding: Padding(1))
        downBlocks = try channels.indices.map { level in
            try AutoencoderDownBlock(
                parameters / "down_blocks" / level, in: channels[max(level - 1, 0)], out: channels[level],
                layers: config.layersPerBlock, config.resnetSettings, downsamples: level < channels.count - 1)
        }
        midBlock = try AutoencoderMidBlock(parameters / "mid_block", config)
        convNormOut = try config.normOut(parameters, channels: config.lastChannels)
        convOut = try Conv2d(
            parameters / "conv_out", in: config.lastChannels, out: 2 * config.latentChannels, kernel: 3,
            padding: Padding(1))
    }

    /// `image` `[B, inChannels, H, W]` -> `[B, 2 L, H / f, W / f]`.
    func callAsFunction(_ image: Tensor) -> Tensor {
        var hidden = convIn(image)
        for block in downBlocks { block.apply(to: &hidden) }
        midBlock.apply(to: &hidden)
        convNormOut.apply(to: &hidden)
        return convOut(hidden)
    }
}

/// Latents to images, without `post_quant_conv`.
final class AutoencoderDecoder {
    private let convIn, convOut: Conv2d
    private let midBlock: AutoencoderMidBlock
    private let upBlocks: [AutoencoderUpBlock]
    private let convNormOut: GroupNorm

    init(_ parameters: ParameterPath, _ config: AutoencoderKLConfig) throws {
        let channels = Array(config.blockOutChannels.reversed())
        convIn = try Conv2d(
            parameters / "conv_in", in: config.latentChannels, out: channels[0], kernel: 3, padding: Padding(1))
        midBlock = try AutoencoderMidBlock(parameters / "mid_block", config)
        upBlocks = try channels.indices.map { level in
            try AutoencoderUpBlock(
                parameters / "up_blocks" / level, in: channels[max(level - 1, 0)], out: channels[level],
                layers: config.layersPerBlock + 1, config.resnetSettings, upsamples: level < channels.count - 1)
        }
        let last = channels[channels.count - 1]
        convNormOut = try config.normOut(parameters, channels: last)
        convOut = try Conv2d(
            parameters / "conv_out", in: last, out: config.outChannels, kernel: 3, padding: Padding(1))
    }

    /// `latents` `[B, L, h, w]` -> `[B, outChannels, f h, f w]`.
    func callAsFunction(_ latents: Tensor) -> Tensor {
        var hidden = convIn(latents)
        midBlock.apply(to: &hidden)
        for block in upBlocks { block.apply(to: &hidden) }
        convNormOut.apply(to: &hidden)
        return convOut(hidden)
    }
}

/// diffusers `DownEncoderBlock2D`: residual blocks, then a convolution that halves the resolution.
final class AutoencoderDownBlock {
    private let resnets: [ResnetBlock2D]
    private let downsampler: Conv2d?

    init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, layers: Int, _ settings: ResnetSettings,
        downsamples: Bool
    ) throws {
        resnets = try (0..<layers).map {
            try ResnetBlock2D(parameters / "resnets" / $0, in: $0 == 0 ? inputs : outputs, out: outputs, settings)
        }
        downsampler =
            downsamples
            ? try Conv2d(
                parameters / "downsamplers.0.conv", in: outputs, out: outputs, kernel: 3, stride: 2,
                padding: Padding(top: 0, left: 0, bottom: 1, right: 1)) : nil
    }

    /// `[B, IC, H, W]` -> `[B, OC, H / 2, W / 2]`, or `[B, OC, H, W]` without downsampling.
    func apply(to x: inout Tensor) {
        for resnet in resnets { resnet.apply(to: &x) }
        if let downsampler { x = downsampler(x) }
    }
}

/// diffusers `UNetMidBlock2D`: two residual blocks, with self-attention between them if the config asks for it.
final class AutoencoderMidBlock {
    private let resnets: [ResnetBlock2D]
    private let attention: AutoencoderAttention?

    init(_ parameters: ParameterPath, _ config: AutoencoderKLConfig) throws {
        let channels = config.lastChannels
        attention =
            config.midBlockAddAttention
            ? try AutoencoderAttention(
                parameters / "attentions.0", channels: channels, groups: config.normNumGroups) : nil
        resnets = try (0..<2).map {
            try ResnetBlock2D(parameters / "resnets" / $0, in: channels, out: channels, config.resnetSettings)
        }
    }

    /// The shape does not change.
    func apply(to x: inout Tensor) {
        resnets[0].apply(to: &x)
        if let attention { x = attention(x) }
        resnets[1].apply(to: &x)
    }
}

/// diffusers `UpDecoderBlock2D`: residual blocks, then nearest-neighbor upsampling and a convolution.
final class AutoencoderUpBlock {
    private let resnets: [ResnetBlock2D]
    private let upsampler: Conv2d?

    init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, layers: Int, _ settings: ResnetSettings,
        upsamples: Bool
    ) throws {
        resnets = try (0..<layers).map {
            try ResnetBlock2D(parameters / "resnets" / $0, in: $0 == 0 ? inputs : outputs, out: outputs, settings)
        }
        upsampler =
            upsamples
            ? try Conv2d(
                parameters / "upsamplers.0.conv", in: outputs, out: outputs, kernel: 3, padding: Padding(1)) : nil
    }

    /// `[B, IC, H, W]` -> `[B, OC, 2 H, 2 W]`, or `[B, OC, H, W]` without upsampling.
    func apply(to x: inout Tensor) {
        for resnet in resnets { resnet.apply(to: &x) }
        if let upsampler { x = upsampler.upsampling(x) }
    }
}

extension Conv2d {
    /// Number of floats of an upsampled band: it stays in the last-level cache, and is large compared with the weight.
    private static let bandFloats = 4 << 20

    /// `self(x.upsampledNearest2x())` for a 3x3 convolution with padding 1. Without gradients, it is computed in bands
    /// of rows, so that the upsampled tensor is never in memory as a whole. `bandRows`: rows of `x` in a band; nil: as
    /// many as fit into the cache.
    func upsampling(_ x: Tensor, bandRows: Int? = nil) -> Tensor {
        let (height, width) = (x.shape[2], x.shape[3])
        let perRow = 4 * x.shape[0] * x.shape[1] * width
        // An even number of rows gives bands that begin with a whole tile of Winograd's algorithm.
        let rows = bandRows ?? max(Self.bandFloats / max(perRow, 1) / 2 * 2, 2)
        guard rows < height else { return self(x.upsampledNearest2x()) }
        let output = Tensor(unsafeUninitialized: [x.shape[0], weight.shape[0], 2 * height, 2 * width])
        for first in Swift.stride(from: 0, to: height, by: rows) {
            let band = first..<min(first + rows, height)
            // One upsampled row more at each side that is not an edge of the image.
            let (above, below) = (band.lowerBound > 0 ? 1 : 0, band.upperBound < height ? 1 : 0)
            let source = x.sliced(axis: 2, band.lowerBound - above..<band.upperBound + below).upsampledNearest2x()
            let part = self(
                source.sliced(axis: 2, above..<source.shape[2] - below),
                padding: Padding(top: 1 - above, left: 1, bottom: 1 - below, right: 1))
            if part.requiresGradient { return self(x.upsampledNearest2x()) }
            output.overwrite(axis: 2, from: 2 * first, with: part)
        }
        return output
    }
}

/// Self-attention over all pixels with one head of C channels, plus the input.
final class AutoencoderAttention {
    private let groupNorm: GroupNorm
    private let attention: Attention

    init(_ parameters: ParameterPath, channels: Int, groups: Int) throws {
        groupNorm = try GroupNorm(
            parameters / "group_norm", channels: channels, groups: groups, epsilon: AutoencoderKLConfig.normEpsilon)
        attention = try Attention(
            parameters, channels: channels, crossAttentionDim: channels, heads: 1, headDim: channels,
            projectionBias: true)
    }

    /// `x` `[B, C, H, W]` -> the same shape.
    func callAsFunction(_ x: Tensor) -> Tensor {
        let (batch, channels, pixels) = (x.shape[0], x.shape[1], x.shape[2] * x.shape[3])
        let tokens = groupNorm(x).reshaped([batch, channels, pixels]).permuted([0, 2, 1])
        return attention(tokens, context: tokens).permuted([0, 2, 1]).reshaped(x.shape) + x
    }
}
