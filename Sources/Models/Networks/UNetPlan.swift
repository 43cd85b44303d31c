// SPDX-License-Identifier: Apache-2.0
// Builds the blocks of a config: which channels, heads and context sizes go into which block, on the way down, in the
// middle and (mirrored) on the way up. Matches the constructor of diffusers `UNet2DConditionModel`.

import Layers

/// Builds the blocks of one UNet.
struct UNetPlan {
    private let config: UNet2DConditionConfig
    private let resnet: ResnetSettings
    private let count: Int

    init(_ config: UNet2DConditionConfig, hasTimeLayers: Bool) {
        self.config = config
        count = config.blockOutChannels.count
        resnet = ResnetSettings(
            groups: config.normNumGroups, epsilon: config.normEps, activation: config.actFn,
            timeScaleShift: config.resnetTimeScaleShift,
            timeWidth: hasTimeLayers ? config.timeEmbeddingDim : nil)
    }

    func downBlocks(_ parameters: ParameterPath) throws -> [DownBlock2D] {
        try (0..<count).map { level in
            try DownBlock2D(
                parameters / level, in: config.blockOutChannels[max(level - 1, 0)],
                out: config.blockOutChannels[level], resnet: resnet,
                transformerLayers: config.transformerLayersPerBlock[level],
                transformer: config.downBlockTypes[level] == .crossAttention
                    ? transformer(level, onlyCrossAttention: config.onlyCrossAttention[level]) : nil,
                downsamplePadding: level == count - 1 ? nil : config.downsamplePadding)
        }
    }

    func midBlock(_ parameters: ParameterPath) throws -> MidBlock2D? {
        guard let type = config.midBlockType else { return nil }
        return try MidBlock2D(
            parameters, channels: config.blockOutChannels[count - 1], resnet: resnet,
            outputScaleFactor: config.midBlockScaleFactor, transformerLayers: config.midTransformerLayers,
            // The mid block always attends to its own pixels first, whatever only_cross_attention says.
            transformer: type == .crossAttention ? transformer(count - 1, onlyCrossAttention: false) : nil)
    }

    func upBlocks(_ parameters: ParameterPath) throws -> [UpBlock2D] {
        try (0..<count).map { index in
            let level = count - 1 - index
            return try UpBlock2D(
                parameters / index, previous: config.blockOutChannels[min(level + 1, count - 1)],
                lastSkip: config.blockOutChannels[max(level - 1, 0)], out: config.blockOutChannels[level],
                resnet: resnet, transformerLayers: config.upTransformerLayersPerBlock[index],
                transformer: config.upBlockTypes[index] == .crossAttention
                    ? transformer(level, onlyCrossAttention: config.onlyCrossAttention[level]) : nil,
                upsamples: level > 0)
        }
    }

    private func transformer(_ level: Int, onlyCrossAttention: Bool) -> TransformerSettings {
        TransformerSettings(
            groups: config.normNumGroups, heads: config.numAttentionHeads[level],
            crossAttentionDim: config.crossAttentionDim[level], onlyCrossAttention: onlyCrossAttention,
            useLinearProjection: config.useLinearProjection)
    }
}
