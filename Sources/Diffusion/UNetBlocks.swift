// SPDX-License-Identifier: Apache-2.0
// The blocks that a UNet is stacked from. Match diffusers `(CrossAttn)DownBlock2D`, `UNetMidBlock2D(CrossAttn)` and
// `(CrossAttn)UpBlock2D` (models/unets/unet_2d_blocks.py): a block with cross-attention is one without it plus a
// transformer behind each residual block. B batch, C channels, H W size.

import Layers
import Tensors

/// Residual blocks (and transformers) at one resolution, then a convolution that halves it.
final class DownBlock2D {
    let resnets: [ResnetBlock2D]
    private let attentions: [Transformer2DModel]
    private let downsampler: Conv2d?

    /// One transformer of `transformerLayers[i]` layers stands behind residual block i; none where `transformer`
    /// is nil.
    init(
        _ parameters: Parameters, in inputs: Int, out outputs: Int, resnet: ResnetSettings,
        transformerLayers: [Int], transformer: TransformerSettings?, downsamplePadding: Int?
    ) throws {
        var resnets: [ResnetBlock2D] = []
        var attentions: [Transformer2DModel] = []
        for (index, layers) in transformerLayers.enumerated() {
            resnets.append(
                try ResnetBlock2D(
                    parameters / "resnets" / index, in: index == 0 ? inputs : outputs, out: outputs, resnet))
            if let transformer {
                attentions.append(
                    try Transformer2DModel(
                        parameters / "attentions" / index, channels: outputs, layers: layers, transformer))
            }
        }
        self.resnets = resnets
        self.attentions = attentions
        downsampler = try downsamplePadding.map { padding in
            try Conv2d(
                parameters / "downsamplers.0.conv", in: outputs, out: outputs, kernel: 3, stride: 2,
                padding: padding == 0 ? Padding(top: 0, left: 0, bottom: 1, right: 1) : Padding(padding))
        }
    }

    /// Appends the output of every layer to `skips` and returns the last one.
    func callAsFunction(
        _ x: Tensor, _ time: TimeConditioning, context: Tensor?, skips: inout [Tensor],
        checkpointing: GradientCheckpointing
    ) -> Tensor {
        var hidden = x
        for (index, resnet) in resnets.enumerated() {
            let attention = attentions.isEmpty ? nil : attentions[index]
            hidden = checkpointing.run([hidden], time, context: context) { inputs, time, context in
                let hidden = resnet(inputs[0], time)
                return attention.map { $0(hidden, context: given(context)) } ?? hidden
            }
            skips.append(hidden)
        }
        if let downsampler {
            hidden = downsampler(hidden)
            skips.append(hidden)
        }
        return hidden
    }
}

/// One residual block, or two around a transformer.
final class MidBlock2D {
    let resnets: [ResnetBlock2D]
    private let attention: Transformer2DModel?

    /// `transformer` nil: the block without cross-attention.
    init(
        _ parameters: Parameters, channels: Int, resnet: ResnetSettings, outputScaleFactor: Float,
        transformerLayers: Int, transformer: TransformerSettings?
    ) throws {
        let first = try ResnetBlock2D(
            parameters / "resnets.0", in: channels, out: channels, resnet,
            outputScaleFactor: outputScaleFactor)
        guard let transformer else {
            resnets = [first]
            attention = nil
            return
        }
        attention = try Transformer2DModel(
            parameters / "attentions.0", channels: channels, layers: transformerLayers, transformer)
        let second = try ResnetBlock2D(
            parameters / "resnets.1", in: channels, out: channels, resnet,
            outputScaleFactor: outputScaleFactor)
        resnets = [first, second]
    }

    /// `x` `[B, C, H, W]` -> the same shape.
    func callAsFunction(
        _ x: Tensor, _ time: TimeConditioning, context: Tensor?, checkpointing: GradientCheckpointing
    ) -> Tensor {
        var hidden = x
        for (index, resnet) in resnets.enumerated() {
            let attention = index == 0 ? attention : nil
            hidden = checkpointing.run([hidden], time, context: context) { inputs, time, context in
                let hidden = resnet(inputs[0], time)
                return attention.map { $0(hidden, context: given(context)) } ?? hidden
            }
        }
        return hidden
    }
}

/// Residual blocks (and transformers) that take a skip connection each, then an upsampling convolution.
final class UpBlock2D {
    let resnets: [ResnetBlock2D]
    private let attentions: [Transformer2DModel]
    private let upsampler: Conv2d?

    /// `previous` channels come from below, `lastSkip` with the last skip connection, `outputs` with the others.
    /// Transformers as in `DownBlock2D`.
    init(
        _ parameters: Parameters, previous: Int, lastSkip: Int, out outputs: Int, resnet: ResnetSettings,
        transformerLayers: [Int], transformer: TransformerSettings?, upsamples: Bool
    ) throws {
        var resnets: [ResnetBlock2D] = []
        var attentions: [Transformer2DModel] = []
        for (index, layers) in transformerLayers.enumerated() {
            let skip = index == transformerLayers.count - 1 ? lastSkip : outputs
            resnets.append(
                try ResnetBlock2D(
                    parameters / "resnets" / index, in: (index == 0 ? previous : outputs) + skip,
                    out: outputs,
                    resnet))
            if let transformer {
                attentions.append(
                    try Transformer2DModel(
                        parameters / "attentions" / index, channels: outputs, layers: layers, transformer))
            }
        }
        self.resnets = resnets
        self.attentions = attentions
        upsampler =
            upsamples
            ? try Conv2d(
                parameters / "upsamplers.0.conv", in: outputs, out: outputs, kernel: 3, padding: Padding(1)
            )
            : nil
    }

    /// Takes one skip connection per residual block off the end of `skips`.
    ///
    /// The upsampled output has the size of the skip connection that the next block begins with, which is twice
    /// the size here unless an odd size was halved on the way down.
    func callAsFunction(
        _ x: Tensor, _ time: TimeConditioning, context: Tensor?, skips: inout [Tensor],
        checkpointing: GradientCheckpointing
    ) -> Tensor {
        var hidden = x
        for (index, resnet) in resnets.enumerated() {
            let attention = attentions.isEmpty ? nil : attentions[index]
            hidden = checkpointing.run([hidden, skips.removeLast()], time, context: context) {
                inputs, time, context in
                let hidden = resnet(.concatenated(inputs, axis: 1), time)
                return attention.map { $0(hidden, context: given(context)) } ?? hidden
            }
        }
        guard let upsampler, let next = skips.last else { return hidden }
        let (height, width) = (next.shape[2], next.shape[3])
        if height == 2 * hidden.shape[2] && width == 2 * hidden.shape[3] {
            return upsampler(hidden.upsampledNearest2x())
        }
        return upsampler(hidden.upsampledNearest(toHeight: height, width: width))
    }
}

/// The context of a cross-attention block.
private func given(_ context: Tensor?) -> Tensor {
    guard let context else {
        preconditionFailure("UNet with cross-attention: encoderHiddenStates must be given")
    }
    return context
}
