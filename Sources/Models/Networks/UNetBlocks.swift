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

    /// One transformer of `transformerLayers[i]` layers follows residual block i; none where `transformer`
    /// is nil.
    init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, resnet: ResnetSettings,
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

    /// Each appends its output to the skip connections.
    var stages: [UNetStage] {
        let pairs = residualPairs(resnets, attentions).map { pair in
            UNetStage(pair.paths) { state, conditioning, checkpointing in
                state.hidden = pair([state.hidden], conditioning, checkpointing)
                state.skips.append(state.hidden)
            }
        }
        let last = downsampler.map { downsampler in
            UNetStage([downsampler.path]) { state, _, _ in
                state.hidden = downsampler(state.hidden)
                state.skips.append(state.hidden)
            }
        }
        return (pairs + (last.map { [$0] } ?? [])).ending(.down)
    }
}

/// One residual block, or two around a transformer.
final class MidBlock2D {
    let resnets: [ResnetBlock2D]
    private let attention: Transformer2DModel?

    /// `transformer` nil: the block without cross-attention.
    init(
        _ parameters: ParameterPath, channels: Int, resnet: ResnetSettings, outputScaleFactor: Float,
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

    /// Shapes do not change.
    var stages: [UNetStage] {
        residualPairs(resnets, attention.map { [$0] } ?? []).map { pair in
            UNetStage(pair.paths) { state, conditioning, checkpointing in
                state.hidden = pair([state.hidden], conditioning, checkpointing)
            }
        }.ending(.mid)
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
        _ parameters: ParameterPath, previous: Int, lastSkip: Int, out outputs: Int, resnet: ResnetSettings,
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

    /// Each residual block takes one skip connection off the end.
    ///
    /// The upsampled output has the size of the skip connection that the next block begins with, which is twice
    /// the size here unless an odd size was halved on the way down.
    var stages: [UNetStage] {
        let pairs = residualPairs(resnets, attentions).map { pair in
            UNetStage(pair.paths) { state, conditioning, checkpointing in
                state.hidden = pair(
                    [state.hidden, state.skips.removeLast()], conditioning, checkpointing)
            }
        }
        let last = upsampler.map { upsampler in
            UNetStage([upsampler.path]) { state, _, _ in
                guard let next = state.skips.last else { return }
                let (height, width) = (next.shape[2], next.shape[3])
                let isTwice = height == 2 * state.hidden.shape[2] && width == 2 * state.hidden.shape[3]
                state.hidden = upsampler(
                    isTwice
                        ? state.hidden.upsampledNearest2x()
                        : state.hidden.upsampledNearest(toHeight: height, width: width))
            }
        }
        return (pairs + (last.map { [$0] } ?? [])).ending(.up)
    }
}

/// Each residual block with its transformer; those that `attentions` does not reach to have none.
private func residualPairs(_ resnets: [ResnetBlock2D], _ attentions: [Transformer2DModel]) -> [ResidualPair] {
    resnets.enumerated().map { index, resnet in
        ResidualPair(resnet: resnet, attention: index < attentions.count ? attentions[index] : nil)
    }
}
