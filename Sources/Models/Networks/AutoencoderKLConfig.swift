// SPDX-License-Identifier: Apache-2.0
// The architecture of a variational autoencoder. Keys, meanings and defaults are those of diffusers `AutoencoderKL`
// (models/autoencoders/autoencoder_kl.py, 0.42).

import Files
import Foundation
import Layers
import Tensors

/// diffusers' `config.json` of an `AutoencoderKL`, validated.
///
/// Every key that changes the output is either implemented or an error: see `init(json:)`.
public struct AutoencoderKLConfig: Sendable {
    /// The bytes that this config was read from, for writing back unchanged.
    public let json: Data
    private let document: JSONValue

    /// Channels of the images that are encoded.
    public let inChannels: Int
    /// Channels of the decoded images.
    public let outChannels: Int
    /// L, channels of the latents.
    public let latentChannels: Int
    /// Channels at each resolution, highest resolution first.
    public let blockOutChannels: [Int]
    /// Residual blocks per block of the encoder; the decoder's blocks have one more.
    public let layersPerBlock: Int
    /// Number of groups of the group normalization layers; divides all `blockOutChannels`.
    public let normNumGroups: Int
    /// The activation of the residual blocks. The last one of encoder and decoder is always SiLU.
    public let actFn: Activation
    /// Whether the mid blocks have self-attention.
    public let midBlockAddAttention: Bool
    /// Side length in pixels of the images that the model was trained on, and of the tiles of tiled passes.
    public let sampleSize: Int
    /// Factor of latents: the denoiser works on (latents - `shiftFactor`) * `scalingFactor`.
    public let scalingFactor: Float
    /// Subtracted from latents before they are scaled; nil: nothing.
    public let shiftFactor: Float?
    /// Whether a 1x1 convolution follows the encoder.
    public let useQuantConv: Bool
    /// Whether a 1x1 convolution precedes the decoder.
    public let usePostQuantConv: Bool

    /// The value of `_class_name`.
    public static let architecture = "AutoencoderKL"
}

extension AutoencoderKLConfig {
    /// Number of pixels per latent along each axis: images `[B, C, H, W]` have latents `[B, L, H / f, W / f]`.
    public var vaeScaleFactor: Int { 1 << (blockOutChannels.count - 1) }

    /// The latents that a denoiser works on: (`latents` - shift factor) * scaling factor. Any shape.
    public func scaledLatents(_ latents: Tensor) -> Tensor {
        (shiftFactor.map { latents - $0 } ?? latents) * scalingFactor
    }

    /// The inverse of `scaledLatents`, for latents to be decoded. Any shape.
    public func unscaledLatents(_ latents: Tensor) -> Tensor {
        let original = latents / scalingFactor
        return shiftFactor.map { original + $0 } ?? original
    }

    /// Checks the shape of images for `AutoencoderKL.encode`.
    ///
    /// - Throws: `DenoiserInputError.shape`.
    public func validate(image: [Int]) throws(DenoiserInputError) {
        let factor = vaeScaleFactor
        guard image.count == 4, image[0] > 0, image[1] == inChannels,
            image[2...].allSatisfy({ $0 > 0 && $0 % factor == 0 })
        else {
            throw .shape(
                name: "image", expected: "[B, \(inChannels), H, W], H and W multiples of \(factor)", found: image)
        }
    }

    /// Checks the shape of latents for `AutoencoderKL.decode`.
    ///
    /// - Throws: `DenoiserInputError.shape`.
    public func validate(latents: [Int]) throws(DenoiserInputError) {
        guard latents.count == 4, latents[1] == latentChannels, latents.allSatisfy({ $0 > 0 }) else {
            throw .shape(name: "latents", expected: "[B, \(latentChannels), H, W]", found: latents)
        }
    }
}

extension AutoencoderKLConfig {
    /// Reads diffusers' `config.json`.
    ///
    /// An absent key has diffusers' default, such as 0.18215 for `scaling_factor`. `force_upcast`, which concerns
    /// half-precision models, has no effect: all computations are in Float32. Keys that begin with "_" are ignored,
    /// with the exception of `_class_name`.
    ///
    /// - Parameter json: UTF-8 JSON, in which `NaN` and `Infinity` are accepted.
    /// - Throws: `ConfigError`, which names the key and its value, for an unknown key, a value of the wrong type or out
    ///   of range, and for `latents_mean` and `latents_std` other than null, which are not implemented.
    public init(json: Data) throws(ConfigError) {
        try self.init(document: JSONValue(parsing: json, name: Self.documentName), json: json)
    }

    private init(document: JSONValue, json: Data) throws(ConfigError) {
        var reader = try ConfigReader(document, name: Self.documentName, nullable: Self.nullableKeys)
        self.json = json
        self.document = document
        try reader.mustBeDefault("_class_name", .string(Self.architecture))
        func size(_ key: String, default defaultValue: Int) throws(ConfigError) -> Int {
            try reader.integer(key, in: Self.sizeRange) ?? defaultValue
        }
        inChannels = try size("in_channels", default: 3)
        outChannels = try size("out_channels", default: 3)
        latentChannels = try size("latent_channels", default: 4)
        let channels = try reader.list("block_out_channels") ?? [.double(64)]
        blockOutChannels = channels.compactMap(Self.positive)
        guard blockOutChannels.count == channels.count, channels.count <= Self.blockLimit else {
            throw reader.unsupported(
                "block_out_channels", .array(channels),
                "1 to \(Self.blockLimit) integers from 1 to \(Self.sizeRange.upperBound)")
        }
        try Self.checkBlocks(&reader, "down_block_types", "DownEncoderBlock2D", count: channels.count)
        try Self.checkBlocks(&reader, "up_block_types", "UpDecoderBlock2D", count: channels.count)
        layersPerBlock = try reader.integer("layers_per_block", in: 1...256) ?? 1
        normNumGroups = try size("norm_num_groups", default: 32)
        for count in blockOutChannels where count % normNumGroups != 0 {
            throw .indivisible(
                key: "block_out_channels", value: count, divisorKey: "norm_num_groups", divisor: normNumGroups)
        }
        actFn = try UNet2DConditionConfig.activation(&reader, "act_fn") ?? .silu
        midBlockAddAttention = try reader.bool("mid_block_add_attention", default: true)
        sampleSize = try Self.sampleSize(&reader)
        scalingFactor = try Self.factor(&reader, "scaling_factor", "numbers other than 0") { $0 != 0 } ?? 0.18215
        shiftFactor = try Self.factor(&reader, "shift_factor")
        useQuantConv = try reader.bool("use_quant_conv", default: true)
        usePostQuantConv = try reader.bool("use_post_quant_conv", default: true)
        try reader.mustBeDefault("latents_mean")
        try reader.mustBeDefault("latents_std")
        _ = try reader.bool("force_upcast", default: true)
        try reader.finish()
    }

    private static let documentName = "VAE config.json"
    private static let nullableKeys: Set<String> = ["force_upcast", "latents_mean", "latents_std", "shift_factor"]

    // Larger than in any model, and small enough that no product of two sizes overflows.
    private static let sizeRange = 1...(1 << 20)
    private static let blockLimit = 16

    private static func positive(_ value: JSONValue) -> Int? {
        value.integer.flatMap { sizeRange.contains($0) ? $0 : nil }
    }

    /// All blocks are of one type, whose name is the only default.
    private static func checkBlocks(
        _ reader: inout ConfigReader, _ key: String, _ type: String, count: Int
    ) throws(ConfigError) {
        let types = try reader.list(key) ?? [.string(type)]
        for value in types where value != .string(type) { throw reader.unsupported(key, value, "\"\(type)\"") }
        guard types.count == count else {
            throw .wrongCount(key: key, value: JSONValue.array(types).description, expected: count)
        }
    }

    /// An integer, or a list of height and width, of which diffusers uses the first one.
    private static func sampleSize(_ reader: inout ConfigReader) throws(ConfigError) -> Int {
        guard let value = reader.value("sample_size") else { return 32 }
        if let side = positive(value) { return side }
        if case .array(let sides) = value, sides.count == 2, let height = positive(sides[0]),
            positive(sides[1]) != nil
        {
            return height
        }
        throw reader.unsupported(
            "sample_size", value, "integers from 1 to \(sizeRange.upperBound), or [height, width]")
    }

    /// A number that is finite, and accepted by `isValid`, in Float32.
    private static func factor(
        _ reader: inout ConfigReader, _ key: String, _ wanted: String = "finite numbers",
        where isValid: (Float) -> Bool = { _ in true }
    ) throws(ConfigError) -> Float? {
        try reader.number(key, wanted) { Float($0).isFinite && isValid(Float($0)) }.map { Float($0) }
    }
}

extension AutoencoderKLConfig: Equatable {
    /// Equal documents, regardless of the order of keys and white space.
    public static func == (left: AutoencoderKLConfig, right: AutoencoderKLConfig) -> Bool {
        left.document == right.document
    }
}

extension AutoencoderKLConfig: Codable {
    /// Reads the config as a nested JSON object, with the checks of `init(json:)`.
    public init(from decoder: any Decoder) throws {
        let document = try JSONValue(from: decoder)
        try self.init(document: document, json: JSONEncoder.compact.encode(document))
    }

    /// Writes the config as the JSON object that it was read from.
    public func encode(to encoder: any Encoder) throws {
        try document.encode(to: encoder)
    }
}
