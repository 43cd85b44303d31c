// SPDX-License-Identifier: Apache-2.0
// The parts of a pipeline as they are read, whatever file or folder they are in.

/// One network of a pipeline on disk.
public struct SourceComponent: Sendable {
    /// The folder's name in diffusers: `unet`, `vae`, `text_encoder`, `text_encoder_2`; `clip` for a CLIP model.
    public let name: String
    /// The class in diffusers or transformers, such as `UNet2DConditionModel`, `AutoencoderKL`, `CLIPTextModel`.
    public let className: String
    /// The text of `config.json`, without a byte order mark.
    public let config: String
    /// The tensors, under the names that diffusers (UNet, VAE) and transformers (text encoders, CLIP) give them.
    public let tensors: any TensorSource

    public init(name: String, className: String, config: String, tensors: any TensorSource) {
        self.name = name
        self.className = className
        self.config = config
        self.tensors = tensors
    }
}

/// A part of the input that is not imported.
public struct OmittedPart: Equatable, Sendable {
    /// A component, such as `safety_checker`, or the first part of the tensors' names.
    public let name: String
    /// Why it is left out.
    public let reason: String

    public init(name: String, reason: String) {
        self.name = name
        self.reason = reason
    }
}
