// SPDX-License-Identifier: Apache-2.0
// The variational autoencoder of latent diffusion models. Parameter names and computation match diffusers
// `AutoencoderKL` (models/autoencoders/autoencoder_kl.py, 0.42).
// B batch, L latent channels, H W size of images, h w size of latents, f pixels per latent along each axis.

import Layers
import Tensors

/// Encodes images to latents and decodes latents to images.
///
/// Latents of `encode` and `decode` are those of the autoencoder itself. A denoiser works on scaled latents; see
/// `AutoencoderKLConfig.scaledLatents(_:)` and `unscaledLatents(_:)`.
public final class AutoencoderKL {
    /// What a model consists of. A file for sampling often has no encoder.
    public enum Parts: String, Sendable, CaseIterable {
        case both, encoder, decoder
    }

    public let config: AutoencoderKLConfig
    public let parts: Parts
    /// All parameters, and all layers with a replaceable weight.
    public let store: ParameterStore
    /// Splits large inputs into overlapping tiles, which takes less memory and changes the result: each tile is
    /// normalized by itself. As in diffusers, off by default.
    public var useTiling = false
    /// Which tiles.
    public var tiling: AutoencoderTiling

    private let encoder: AutoencoderEncoder?
    private let decoder: AutoencoderDecoder?
    private let quantConv, postQuantConv: Conv2d?

    /// Builds the autoencoder from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - parameters: position of the model.
    ///   - parts: what to build; the parameters of the other part are not requested.
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: AutoencoderKLConfig, parameters: ParameterPath, parts: Parts = .both) throws {
        self.config = config
        self.parts = parts
        store = parameters.store
        tiling = AutoencoderTiling(config)
        let (hasEncoder, hasDecoder) = (parts != .decoder, parts != .encoder)
        func pointwise(_ name: String, _ channels: Int) throws -> Conv2d {
            try Conv2d(parameters / name, in: channels, out: channels, kernel: 1)
        }
        encoder = hasEncoder ? try AutoencoderEncoder(parameters / "encoder", config) : nil
        decoder = hasDecoder ? try AutoencoderDecoder(parameters / "decoder", config) : nil
        quantConv =
            hasEncoder && config.useQuantConv ? try pointwise("quant_conv", 2 * config.latentChannels) : nil
        postQuantConv =
            hasDecoder && config.usePostQuantConv ? try pointwise("post_quant_conv", config.latentChannels) : nil
    }

    /// The distribution of the latents of images: independent Gaussians.
    ///
    /// The mean is diffusers' `latent_dist.mode()`; `sample(mean:logvar:noise:)` draws from the distribution.
    ///
    /// - Parameter image: `[B, inChannels, H, W]`, values in -1...1; see `AutoencoderKLConfig.validate(image:)`.
    /// - Returns: mean and logarithm of the variance, `[B, L, H / f, W / f]` each. The latter is limited to -30...20
    ///   and not differentiable.
    /// - Precondition: the model has an encoder.
    public func encode(_ image: Tensor) -> (mean: Tensor, logvar: Tensor) {
        guard let encoder else { preconditionFailure("AutoencoderKL.encode: the model was built without encoder") }
        precondition(
            image.rank == 4 && image.shape[1] == config.inChannels,
            "AutoencoderKL.encode: expected [B, \(config.inChannels), H, W], found \(image.shape)")
        func moments(_ image: Tensor) -> Tensor {
            let hidden = encoder(image)
            return quantConv.map { $0(hidden) } ?? hidden
        }
        let result = withoutPanelCache {
            isTiled(image, from: tiling.sampleMinSize)
                ? tiling.encoded(image, by: moments) : moments(image)
        }
        let channels = config.latentChannels
        return (
            result.sliced(axis: 1, 0..<channels),
            Self.limited(result.detached().sliced(axis: 1, channels..<2 * channels))
        )
    }

    /// Draws latents: `mean` + exp(`logvar` / 2) · `noise`. All shapes are equal; `noise` is standard Gaussian.
    public static func sample(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor {
        mean + (logvar * 0.5).exp() * noise
    }

    /// The images of latents.
    ///
    /// - Parameter latents: `[B, L, h, w]`, not scaled; see `AutoencoderKLConfig.unscaledLatents(_:)`.
    /// - Returns: `[B, outChannels, f h, f w]`, values in about -1...1, not limited to this range.
    /// - Precondition: the model has a decoder.
    public func decode(_ latents: Tensor) -> Tensor {
        guard let decoder else { preconditionFailure("AutoencoderKL.decode: the model was built without decoder") }
        precondition(
            latents.rank == 4 && latents.shape[1] == config.latentChannels,
            "AutoencoderKL.decode: expected [B, \(config.latentChannels), h, w], found \(latents.shape)")
        func image(_ latents: Tensor) -> Tensor { decoder(postQuantConv.map { $0(latents) } ?? latents) }
        // A model is used once per image; its panels would take four times the memory of its weights.
        return withoutPanelCache {
            isTiled(latents, from: tiling.latentMinSize)
                ? tiling.decoded(latents, by: image) : image(latents)
        }
    }

    private func isTiled(_ x: Tensor, from size: Int) -> Bool {
        useTiling && max(x.shape[2], x.shape[3]) > size
    }

    private static func limited(_ logvar: Tensor) -> Tensor {
        let result = Tensor(unsafeUninitialized: logvar.shape)
        result.withUnsafeMutableBufferPointer { target in
            logvar.withUnsafeBufferPointer { source in
                for index in source.indices { target[index] = min(max(source[index], -30), 20) }
            }
        }
        return result
    }
}

extension AutoencoderKL {
    /// The present key of a parameter that an old checkpoint stores under `key`; other keys are returned unchanged.
    ///
    /// Until diffusers 0.18, the attention of the mid blocks had `query`, `key`, `value` and `proj_attn` in place of
    /// `to_q`, `to_k`, `to_v` and `to_out.0`.
    public static func renamedKey(_ key: String) -> String {
        guard let attention = key.firstRange(of: ".attentions.") else { return key }
        var parts = key[attention.upperBound...].split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let name = presentNames[String(parts[1])] else { return key }
        parts[1] = Substring(name)
        return String(key[..<attention.upperBound]) + parts.joined(separator: ".")
    }

    private static let presentNames = ["query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"]

    /// The shape in which the model reads the parameter `key`, old or present, that a checkpoint stores as `shape`.
    ///
    /// Some checkpoints store the weights of the mid blocks' attention as 1x1 convolutions, `[C, C, 1, 1]` instead of
    /// `[C, C]`. The values are the same. All other shapes are returned unchanged.
    public static func shape(ofKey key: String, stored shape: [Int]) -> [Int] {
        let present = renamedKey(key)
        guard present.contains(".attentions."), shape.count == 4, shape[2...] == [1, 1],
            presentNames.values.contains(where: { present.hasSuffix(".\($0).weight") })
        else { return shape }
        return Array(shape[..<2])
    }
}
