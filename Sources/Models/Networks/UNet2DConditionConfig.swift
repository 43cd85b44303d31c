// SPDX-License-Identifier: Apache-2.0
// The architecture of a conditional UNet, as diffusers' config.json describes it. Field names and meanings follow
// the arguments of diffusers `UNet2DConditionModel` (models/unets/unet_2d_condition.py, 0.42); a value given once
// for all blocks is kept as one value per block.

import Files
import Foundation
import Layers

/// diffusers' `config.json` of a `UNet2DConditionModel`, validated.
///
/// Every key that changes the computation is either followed or an error: see `init(json:)`.
public struct UNet2DConditionConfig: DenoiserConfig {
    public static let architecture = "UNet2DConditionModel"
    public static let component = "unet"

    /// A resolution step on the way down.
    public enum DownBlockType: String, Sendable, CaseIterable {
        case resnets = "DownBlock2D"
        case crossAttention = "CrossAttnDownBlock2D"
    }

    /// The block at the lowest resolution.
    public enum MidBlockType: String, Sendable, CaseIterable {
        /// One residual block.
        case resnet = "UNetMidBlock2D"
        /// Residual block, transformer, residual block.
        case crossAttention = "UNetMidBlock2DCrossAttn"
    }

    /// A resolution step on the way up.
    public enum UpBlockType: String, Sendable, CaseIterable {
        case resnets = "UpBlock2D"
        case crossAttention = "CrossAttnUpBlock2D"
    }

    /// How a residual block uses its projected time feature.
    public enum TimeScaleShift: String, Sendable, CaseIterable {
        /// Added before the second normalization.
        case added = "default"
        /// Scale and shift after the second normalization.
        case scaleShift = "scale_shift"
    }

    /// Conditions that are added to the time embedding.
    public enum AdditionEmbedType: String, Sendable, CaseIterable {
        /// SDXL: pooled text features and sinusoidal features of six sizes.
        case textTime = "text_time"
    }

    /// The bytes that this config was read from, for writing back unchanged.
    public let json: Data
    let document: JSONValue

    /// The size that the model was trained for; nil where the config leaves it open. Any size can be predicted.
    public let sampleSize: SampleSize?
    public let inChannels: Int
    public let outChannels: Int
    /// Maps the input from [0, 1] to [-1, 1] first.
    public let centerInputSample: Bool
    public let flipSinToCos: Bool
    public let freqShift: Float
    public let downBlockTypes: [DownBlockType]
    /// nil: no block between the way down and the way up.
    public let midBlockType: MidBlockType?
    public let upBlockTypes: [UpBlockType]
    /// Per down block, reversed for up blocks: the first attention attends to the context too.
    public let onlyCrossAttention: [Bool]
    public let blockOutChannels: [Int]
    /// Residual blocks per down block; an up block has one more than its mirror image.
    public let layersPerBlock: [Int]
    /// 1, or 0 for one row and column of zeros at the bottom right.
    public let downsamplePadding: Int
    /// The mid block's residual sums are divided by this.
    public let midBlockScaleFactor: Float
    public let actFn: Activation
    public let normNumGroups: Int
    public let normEps: Float
    /// Channels of the context per down block, reversed for up blocks.
    public let crossAttentionDim: [Int]
    /// Transformer layers of each transformer in each down block.
    public let transformerLayersPerBlock: [[Int]]
    /// Transformer layers of the mid block's transformer.
    public let midTransformerLayers: Int
    /// Transformer layers of each transformer in each up block.
    public let upTransformerLayersPerBlock: [[Int]]
    /// Channels of the context before a learned projection to those of the blocks; nil without projection.
    public let encoderHidDim: Int?
    /// Number of heads per down block, reversed on the way up. The key on disk is `attention_head_dim`, a name
    /// that is misleading for historical reasons (diffusers issue 2011): it is the number of heads, not their size.
    public let numAttentionHeads: [Int]
    /// Transformers project with linear layers instead of 1x1 convolutions.
    public let useLinearProjection: Bool
    public let additionEmbedType: AdditionEmbedType?
    /// Sinusoidal features per time id (SDXL).
    public let additionTimeEmbedDim: Int?
    /// Channels of text features plus time-id features (SDXL).
    public let projectionClassEmbeddingsInputDim: Int?
    public let resnetTimeScaleShift: TimeScaleShift
    /// Channels of the time embedding: `time_embedding_dim`, by default four times the first block's channels.
    public let timeEmbeddingDim: Int
    /// Applied once to the finished time embedding.
    public let timeEmbeddingActFn: Activation?
    /// Applied behind the time embedding's second layer.
    public let timestepPostAct: Activation?
    public let convInKernel: Int
    public let convOutKernel: Int

    public var usesCrossAttention: Bool {
        downBlockTypes.contains(.crossAttention) || midBlockType == .crossAttention
            || upBlockTypes.contains(.crossAttention)
    }

    public var contextSize: Int { encoderHidDim ?? crossAttentionDim[0] }

    public var addedConditionsType: String? { additionEmbedType?.rawValue }

    public func model(
        _ parameters: ParameterPath, timeFeatures: TimeFeatureTable?
    ) throws -> any Denoiser {
        try UNet2DConditionModel(config: self, parameters: parameters, timeFeatures: timeFeatures)
    }
}

extension UNet2DConditionConfig: Equatable {
    /// Equal documents, whatever the order of their keys and their spacing.
    public static func == (left: UNet2DConditionConfig, right: UNet2DConditionConfig) -> Bool {
        left.document == right.document
    }
}

extension UNet2DConditionConfig: Codable {
    /// Reads the config as a nested JSON object.
    public init(from decoder: any Decoder) throws {
        let document = try JSONValue(from: decoder)
        try self.init(document: document, json: JSONEncoder.document.encode(document))
    }

    /// Writes the config as the JSON object that it was read from.
    public func encode(to encoder: any Encoder) throws {
        try document.encode(to: encoder)
    }
}
