// SPDX-License-Identifier: Apache-2.0
// Residual block of the UNets, and of the autoencoders, whose blocks have no time feature. Matches diffusers
// `ResnetBlock2D` (models/resnet.py) without its own resampling.
// B batch, IC/OC input/output channels, H W size, D channels of the time embedding.

import Layers
import Tensors

/// What all residual blocks of one model share.
struct ResnetSettings {
    let groups: Int
    let epsilon: Float
    let activation: Activation
    let timeScaleShift: UNet2DConditionConfig.TimeScaleShift
    /// D; nil for models without time projections: models with cached time features, and autoencoders.
    let timeWidth: Int?
}

/// Norm, activation, convolution, time feature, norm, activation, convolution; plus the (projected) input.
final class ResnetBlock2D {
    /// Diffusers path, e.g. "down_blocks.0.resnets.0".
    let path: String
    private let norm1, norm2: GroupNorm
    private let conv1, conv2: Conv2d
    private let timeEmbProj: Linear?
    private let convShortcut: Conv2d?
    private let settings: ResnetSettings
    private let channels: Int
    private let outputScaleFactor: Float

    init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, _ settings: ResnetSettings,
        outputScaleFactor: Float = 1
    ) throws {
        path = parameters.path
        channels = outputs
        self.settings = settings
        self.outputScaleFactor = outputScaleFactor
        let isShifted = settings.timeScaleShift == .scaleShift
        norm1 = try GroupNorm(
            parameters / "norm1", channels: inputs, groups: settings.groups, epsilon: settings.epsilon,
            activation: settings.activation)
        conv1 = try Conv2d(parameters / "conv1", in: inputs, out: outputs, kernel: 3, padding: Padding(1))
        timeEmbProj = try settings.timeWidth.map {
            try Linear(parameters / "time_emb_proj", in: $0, out: isShifted ? 2 * outputs : outputs)
        }
        norm2 = try GroupNorm(
            parameters / "norm2", channels: outputs, groups: settings.groups, epsilon: settings.epsilon,
            activation: isShifted ? nil : settings.activation)
        conv2 = try Conv2d(parameters / "conv2", in: outputs, out: outputs, kernel: 3, padding: Padding(1))
        convShortcut =
            inputs == outputs
            ? nil : try Conv2d(parameters / "conv_shortcut", in: inputs, out: outputs, kernel: 1)
    }

    /// Number of values in this block's time feature: OC, or 2 OC where it scales and shifts.
    var timeFeatureChannels: Int {
        settings.timeScaleShift == .scaleShift ? 2 * channels : channels
    }

    /// `x` `[B, IC, H, W]` -> `[B, OC, H, W]`.
    func callAsFunction(_ x: Tensor, _ conditioning: DenoiserConditioning) -> Tensor {
        let feature = timeFeature(conditioning)
        var hidden: Tensor
        switch settings.timeScaleShift {
        case .added:
            hidden = norm2(conv1(norm1(x), channelBias: feature))
        case .scaleShift:
            hidden = conv1(norm1(x))
            let scale = feature.sliced(axis: 1, 0..<channels).reshaped([-1, channels, 1, 1])
            let shift = feature.sliced(axis: 1, channels..<(2 * channels)).reshaped([-1, channels, 1, 1])
            hidden = settings.activation(norm2(hidden) * (1 + scale) + shift)
        }
        let sum = conv2(hidden, residual: convShortcut.map { $0(x) } ?? x)
        return outputScaleFactor == 1 ? sum : sum / outputScaleFactor
    }

    /// Replaces `x` `[B, IC, H, W]` by the output `[B, OC, H, W]` of a block without time feature.
    ///
    /// Without gradients, the largest tensors are overwritten instead of kept: at most three are alive at a time, `x`
    /// included.
    func apply(to x: inout Tensor) {
        precondition(
            settings.timeScaleShift == .added && timeEmbProj == nil && outputScaleFactor == 1,
            "\(path): expected a block without time feature and output scale")
        guard let convShortcut else {
            var hidden = conv1(norm1(x))
            norm2.apply(to: &hidden)
            x = conv2(hidden, residual: x)
            return
        }
        let shortcut = convShortcut(x)
        norm1.apply(to: &x)
        x = conv1(x)
        norm2.apply(to: &x)
        x = conv2(x, residual: shortcut)
    }

    /// The projected time feature, `[B or 1, timeFeatureChannels]`.
    func timeFeature(_ conditioning: DenoiserConditioning) -> Tensor {
        if let table = conditioning.timeFeatures {
            return table.feature(resnetPath: path, timesteps: conditioning.timesteps)
        }
        guard let embedding = conditioning.timeEmbedding else {
            preconditionFailure("\(path): the conditioning has no time embedding")
        }
        return timeFeature(embedding: embedding)
    }

    /// The projection of a time embedding `[B or 1, D]`.
    func timeFeature(embedding: Tensor) -> Tensor {
        guard let timeEmbProj else {
            preconditionFailure("\(path): built without time_emb_proj, so time features must be given")
        }
        return timeEmbProj(embedding)
    }
}
