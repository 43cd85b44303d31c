// SPDX-License-Identifier: Apache-2.0
// The architecture of CLIP's vision transformer. Keys, meanings and defaults are those of transformers'
// `CLIPVisionConfig` (models/clip/configuration_clip.py).

import Files
import Foundation
import Layers

/// transformers' `config.json` of a `CLIPVisionModelWithProjection`, validated.
///
/// Every key that changes the output is either implemented or an error: see `init(json:)`.
public struct CLIPVisionConfig: Sendable, Equatable {
    /// Height and width of the images in pixels.
    public let imageSize: Int
    /// Height and width of a patch in pixels, at most `imageSize`.
    public let patchSize: Int
    /// P, channels of the projected image embedding. Used by `CLIPVisionModelWithProjection` only.
    public let projectionDim: Int
    let encoder: CLIPEncoderSizes
}

extension CLIPVisionConfig {
    /// D, channels per token.
    public var hiddenSize: Int { encoder.hiddenSize }
    /// Channels between the two linear layers of each feed-forward network.
    public var intermediateSize: Int { encoder.intermediateSize }
    public var numHiddenLayers: Int { encoder.numHiddenLayers }
    /// Number of attention heads; divides `hiddenSize`.
    public var numAttentionHeads: Int { encoder.numAttentionHeads }
    /// The activation of the feed-forward networks.
    public var hiddenAct: Activation { encoder.hiddenAct }
    public var layerNormEps: Float { encoder.layerNormEps }
    /// Patches per image, and one for the class token.
    public var numPositions: Int { (imageSize / patchSize) * (imageSize / patchSize) + 1 }

    /// Reads transformers' `config.json`.
    ///
    /// An absent key has transformers' default. Keys without effect on the output, such as `attention_dropout`, are
    /// ignored; so are keys that begin with "_".
    ///
    /// - Parameter json: UTF-8 JSON, in which `NaN` and `Infinity` are accepted.
    /// - Throws: `ConfigError`, which names the key and its value, for an unknown key, a value of the wrong type or out
    ///   of range, images without three channels, and an activation that is not implemented.
    public init(json: Data) throws(ConfigError) {
        try self.init(document: JSONValue(parsing: json, name: Self.documentName))
    }

    init(document: JSONValue) throws(ConfigError) {
        var reader = try ConfigReader(
            document, name: Self.documentName, nullable: Set(CLIPConfigKeys.withoutEffect))
        encoder = try CLIPEncoderSizes(&reader, hiddenSize: 768, intermediateSize: 3072, numAttentionHeads: 12)
        projectionDim = try reader.integer("projection_dim", in: CLIPConfigKeys.sizes) ?? 512
        imageSize = try reader.integer("image_size", in: 1...8192) ?? 224
        patchSize = try reader.integer("patch_size", in: 1...imageSize) ?? 32
        guard patchSize <= imageSize else {
            throw reader.unsupported("image_size", .number("\(imageSize)"), "integers from patch_size, \(patchSize)")
        }
        try reader.mustBeDefault("num_channels", .number("3"))
        try reader.mustBeDefault("tie_last_hidden_states", .bool(false))
        try reader.mustBeDefault("pruned_heads", .object([]))
        for key in CLIPConfigKeys.withoutEffect { _ = reader.value(key) }
        try reader.finish()
    }

    private static let documentName = "vision config.json"
}
