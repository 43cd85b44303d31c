// SPDX-License-Identifier: Apache-2.0
// The terms that a convolution adds to its outputs when it stores them. N images, OC channels.

import CKernels

/// Terms added to the outputs of a convolution when they are stored.
struct ConvolutionEpilogue {
    /// `[OC]`; `[N or 1, OC]`; `[N, OC, OH, OW]`.
    let bias, channelBias, addend: Tensor?

    init(_ bias: Tensor? = nil, _ channelBias: Tensor? = nil, _ addend: Tensor? = nil) {
        (self.bias, self.channelBias, self.addend) = (bias, channelBias, addend)
    }

    /// Traps if a shape does not match the convolution.
    init(
        checking geometry: ConvolutionGeometry, _ bias: Tensor?, _ channelBias: Tensor?, _ addend: Tensor?
    ) {
        let (batch, outputs) = (geometry.batch, geometry.outputs)
        if let bias {
            precondition(
                bias.shape == [outputs], "conv2d: bias \(bias.shape) for weight \(geometry.weightShape)")
        }
        if let channelBias {
            precondition(
                channelBias.shape == [batch, outputs] || channelBias.shape == [1, outputs],
                "conv2d: channel bias \(channelBias.shape) for \(batch) images of \(outputs) channels")
        }
        if let addend {
            precondition(
                addend.shape == geometry.outputShape,
                "conv2d: residual \(addend.shape) for outputs \(geometry.outputShape)")
        }
        self.init(bias, channelBias, addend)
    }

    /// The epilogue of the channels from `channel` on, with addresses relative to that channel of image 0.
    func kernelEpilogue(from channel: Int, plane: Int) -> bf_epilogue {
        bf_epilogue(
            bias: bias.map { UnsafePointer($0.pointer + channel) },
            channel_bias: channelBias.map { UnsafePointer($0.pointer + channel) },
            channel_bias_step: channelBias.map { $0.shape[0] == 1 ? 0 : $0.shape[1] } ?? 0,
            addend: addend.map { UnsafePointer($0.pointer + channel * plane) })
    }

    /// bias + channel bias of one image, `[OC]`; nil if there is neither.
    func rowBias(image: Int, outputs: Int) -> [Float]? {
        guard bias != nil || channelBias != nil else { return nil }
        return (0..<outputs).map { channel in
            (bias?.pointer[channel] ?? 0)
                + (channelBias.map { $0.pointer[($0.shape[0] == 1 ? 0 : image * outputs) + channel] } ?? 0)
        }
    }
}
