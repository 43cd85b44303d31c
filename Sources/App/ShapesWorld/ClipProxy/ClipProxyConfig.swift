// SPDX-License-Identifier: Apache-2.0
// The architecture of the CLIP-proxy. The JSON has the structure of transformers' `CLIPConfig`: `projection_dim`,
// `text_config`, and keys of its own for the convolutional image tower.

import BitsFusion
import Foundation

/// The sizes of the image tower and the text tower.
public struct ClipProxyConfig: Codable, Sendable, Equatable {
    /// The output channels of each convolution.
    public let visionChannels: [Int]
    /// The stride of each convolution, 1 or 2.
    public let visionStrides: [Int]
    /// The number of groups of all normalizations; divides all of `visionChannels`.
    public let normNumGroups: Int
    /// D, the size of the embeddings.
    public let projectionDim: Int
    /// The text encoder, without projection.
    public let textConfig: CLIPTextConfig

    /// A config with these values. The defaults are for 32x32 images and result in 0.3 M parameters.
    ///
    /// - Throws: `ConfigError` for lists of different lengths and for sizes out of range.
    public init(
        textConfig: CLIPTextConfig, visionChannels: [Int] = [24, 32, 48, 64, 64, 96, 64],
        visionStrides: [Int] = [1, 2, 1, 2, 1, 2, 1], normNumGroups: Int = 8, projectionDim: Int = 64
    ) throws(ConfigError) {
        self.textConfig = textConfig
        self.visionChannels = visionChannels
        self.visionStrides = visionStrides
        self.normNumGroups = normNumGroups
        self.projectionDim = projectionDim
        try validate()
    }

    /// Reads the JSON keys `vision_channels`, `vision_strides`, `norm_num_groups`, `projection_dim` and `text_config`.
    ///
    /// - Throws: `DecodingError` for missing keys, `ConfigError` for values out of range.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        visionChannels = try container.decode([Int].self, forKey: .visionChannels)
        visionStrides = try container.decode([Int].self, forKey: .visionStrides)
        normNumGroups = try container.decode(Int.self, forKey: .normNumGroups)
        projectionDim = try container.decode(Int.self, forKey: .projectionDim)
        textConfig = try container.decode(CLIPTextConfig.self, forKey: .textConfig)
        try validate()
    }

    /// C, the channels of the pooled image features.
    public var featureChannels: Int { visionChannels[visionChannels.count - 1] }

    private func validate() throws(ConfigError) {
        guard !visionChannels.isEmpty else {
            throw .unsupported(
                key: CodingKeys.visionChannels.rawValue, value: "[]", supported: "one channel count or more")
        }
        guard visionStrides.count == visionChannels.count else {
            throw .wrongCount(
                key: CodingKeys.visionStrides.rawValue, value: "\(visionStrides)",
                expected: visionChannels.count)
        }
        guard visionStrides.allSatisfy((1...2).contains) else {
            throw .unsupported(
                key: CodingKeys.visionStrides.rawValue, value: "\(visionStrides)", supported: "1 and 2")
        }
        for (key, size) in [
            (CodingKeys.normNumGroups, normNumGroups), (.projectionDim, projectionDim),
        ] where size < 1 {
            throw .unsupported(key: key.rawValue, value: String(size), supported: "integers from 1")
        }
        for channels in visionChannels where channels < 1 || channels % normNumGroups != 0 {
            throw .indivisible(
                key: CodingKeys.visionChannels.rawValue, value: channels,
                divisorKey: CodingKeys.normNumGroups.rawValue, divisor: normNumGroups)
        }
    }

    private enum CodingKeys: String, CodingKey {
        case visionChannels = "vision_channels"
        case visionStrides = "vision_strides"
        case normNumGroups = "norm_num_groups"
        case projectionDim = "projection_dim"
        case textConfig = "text_config"
    }
}
