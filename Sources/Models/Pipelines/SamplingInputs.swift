// SPDX-License-Identifier: Apache-2.0
// What sampling starts from besides random noise: an image to change, a mask, and the further channels of models that
// edit images. As diffusers' image-to-image, inpainting and InstructPix2Pix pipelines
// (pipelines/stable_diffusion/pipeline_stable_diffusion_{img2img,inpaint,instruct_pix2pix}.py).
// N images, C latent channels, H W latent size.

import Networks
import Tensors

/// What a denoiser takes in its input channels after those of the noisy sample.
public enum ImageConditioning: Sendable {
    /// Nothing.
    case none
    /// The mask and the latents of the image without the masked part: C + 1 channels.
    case inpainting
    /// The latents of the image: C channels, as InstructPix2Pix.
    case image

    /// - Throws: `PipelineError.furtherChannels` for another number of channels.
    public init(_ config: any DenoiserConfig) throws(PipelineError) {
        switch config.conditionChannels {
        case 0: self = .none
        case config.outChannels: self = .image
        case config.outChannels + 1: self = .inpainting
        default: throw .furtherChannels(input: config.inChannels, output: config.outChannels)
        }
    }
}

/// The image, mask and noise of a run.
public struct SamplingInputs {
    /// A distribution of latents: mean and logarithm of the variance, `[1, C, H, W]`, and the scaling of a draw.
    struct Posterior {
        let mean, logvar: Tensor
        let config: AutoencoderKLConfig

        /// A draw, scaled, with standard normal `noise` of the same shape.
        func sample(_ noise: Tensor) -> Tensor {
            config.scaledLatents(AutoencoderKL.sample(mean: mean, logvar: logvar, noise: noise))
        }
    }

    /// Standard normal initial noise, `[N, C, H, W]` or `[1, C, H, W]`; nil draws it.
    public var noise: Tensor?
    /// The share of the steps that change the image, above 0, up to 1. With 1, image-to-image still starts from the
    /// image at the highest noise level; with a mask, sampling starts from noise alone.
    public var strength = 1.0
    /// Guidance towards the image for InstructPix2Pix models, 1 or more.
    public var imageGuidanceScale: Float = 1.5

    private(set) var conditioning = ImageConditioning.none
    private(set) var image: Posterior?
    /// `[1, 1, H, W]`, 1 where the image is repainted.
    private(set) var mask: Tensor?
    /// The image without the masked part.
    private(set) var maskedImage: Posterior?
    /// Given values of all condition channels, `[N, K, H, W]`.
    private(set) var condition: Tensor?

    public init() {}

    /// The inputs of the images `range` of `count` images.
    public func images(_ range: Range<Int>, of count: Int) -> SamplingInputs {
        var inputs = self
        func part(_ tensor: Tensor?) -> Tensor? {
            guard let tensor, tensor.shape.first == count, count > 1 else { return tensor }
            return tensor.sliced(axis: 0, range)
        }
        inputs.noise = part(noise)
        inputs.condition = part(condition)
        return inputs
    }

    /// Whether sampling starts from the image with noise, as diffusers' pipelines do.
    var startsFromImage: Bool {
        guard image != nil, conditioning != .image else { return false }
        return strength < 1 || (conditioning == .none && mask == nil)
    }

    /// Gives the values of the condition channels, as a data set has them, in the place of an image and a mask.
    ///
    /// - Parameters:
    ///   - condition: `[N, K, H, W]`, one row for each image.
    ///   - conditioning: what the denoiser takes.
    public mutating func setCondition(_ condition: Tensor, conditioning: ImageConditioning) {
        (self.condition, self.conditioning) = (condition, conditioning)
    }

    /// Sets the image.
    ///
    /// - Parameters:
    ///   - pixels: `[1, 3, 8H, 8W]` in [-1, 1].
    ///   - mask: `[1, 1, 8H, 8W]`, 1 where the image is repainted, else 0; nil changes the whole image.
    ///   - conditioning: what the denoiser takes.
    ///   - vae: the autoencoder.
    /// - Throws: `PipelineError.missingComponent` for an autoencoder without encoder.
    public mutating func setImage(
        _ pixels: Tensor, mask: Tensor?, conditioning: ImageConditioning, vae: AutoencoderKL
    ) throws {
        guard vae.parts != .decoder else {
            throw PipelineError.missingComponent(name: "vae.encoder", neededBy: "the image")
        }
        func encode(_ pixels: Tensor) -> Posterior {
            let (mean, logvar) = withoutGradients { vae.encode(pixels) }
            return Posterior(mean: mean, logvar: logvar, config: vae.config)
        }
        self.conditioning = conditioning
        image = encode(pixels)
        guard let mask else { return }
        let (height, width) = (image?.mean.shape[2] ?? 0, image?.mean.shape[3] ?? 0)
        self.mask = mask.nearest(height: height, width: width)
        if conditioning == .inpainting {
            maskedImage = encode(withoutGradients { pixels * (1 - mask).expanded(pixels.shape) })
        }
    }
}

extension Tensor {
    /// `[1, 1, H, W]` -> `[1, 1, height, width]` by the nearest pixel below, as `torch.nn.functional.interpolate`.
    package func nearest(height: Int, width: Int) -> Tensor {
        let (values, rows, columns) = (values, shape[2], shape[3])
        return Tensor(
            (0..<height).flatMap { y in
                (0..<width).map { x in values[y * rows / height * columns + x * columns / width] }
            }, shape: [1, 1, height, width])
    }
}
