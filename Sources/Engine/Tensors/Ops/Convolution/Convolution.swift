// SPDX-License-Identifier: Apache-2.0
// 2-D convolution, NCHW and OIHW, with what follows it in a residual block added as its outputs are stored.
// N images, IC/OC channels, H W input, OH OW output.

import CKernels

/// Zero padding of a convolution, in pixels.
public struct Padding: Sendable, Equatable {
    public var top, left, bottom, right: Int

    public init(top: Int, left: Int, bottom: Int, right: Int) {
        (self.top, self.left, self.bottom, self.right) = (top, left, bottom, right)
    }

    public init(_ all: Int) { self.init(top: all, left: all, bottom: all, right: all) }
}

/// `x` `[N, IC, H, W]` ∗ `weight` `[OC, IC, KH, KW]` + `bias` `[OC]` → `[N, OC, OH, OW]` (cross-correlation, as PyTorch).
public func conv2d(_ x: Tensor, weight: Tensor, bias: Tensor?, stride: Int = 1, padding: Int = 0) -> Tensor {
    conv2d(x, weight: weight, bias: bias, stride: stride, paddings: Padding(padding))
}

/// The same with a padding of its own on each side, and with sums that follow.
///
/// `channelBias` `[N, OC]`, or `[1, OC]` for all images, is added to every pixel of a channel: a time feature. `residual`
/// `[N, OC, OH, OW]` is added elementwise.
public func conv2d(
    _ x: Tensor, weight: Tensor, bias: Tensor?, stride: Int = 1, paddings: Padding, channelBias: Tensor? = nil,
    residual: Tensor? = nil
) -> Tensor {
    let geometry = ConvolutionGeometry(x.shape, weight.shape, stride: stride, padding: paddings)
    let batch = geometry.batch
    let epilogue = ConvolutionEpilogue(checking: geometry, bias, channelBias, residual)
    let output = geometry.forward(x, weight, epilogue)
    let (input, kernel) = (x.detached(), SavedTensor(weight))
    let inputs = [x, weight] + [bias, channelBias, residual].compactMap { $0 }
    let needs = inputs.map { $0.node != nil }
    let (hasBias, images) = (bias != nil, channelBias?.shape[0])
    return .custom("conv2d", inputs: inputs, output: output) { g in
        var shares: [Tensor?] = [
            needs[0] ? geometry.gradientOfInput(g, kernel.values(), isFrozen: !needs[1]) : nil,
            needs[1] ? geometry.gradientOfWeight(g, input) : nil,
        ]
        let needsSums = hasBias && needs[2] || images != nil && needs[hasBias ? 3 : 2]
        let perImage = needsSums ? g.sum(axes: [2, 3]) : nil
        if hasBias { shares.append(needs[2] ? perImage?.sum(axes: [0]) : nil) }
        if let images {
            shares.append(
                needs[shares.count]
                    ? (images == batch ? perImage : perImage?.sum(axes: [0], keepDims: true)) : nil)
        }
        if shares.count < needs.count { shares.append(g) }
        return shares
    }
}

/// What is added to a convolution's outputs as they are stored.
struct ConvolutionEpilogue {
    /// `[OC]`; `[N or 1, OC]`; the outputs' own shape.
    let bias, channelBias, addend: Tensor?

    init(_ bias: Tensor? = nil, _ channelBias: Tensor? = nil, _ addend: Tensor? = nil) {
        (self.bias, self.channelBias, self.addend) = (bias, channelBias, addend)
    }

    /// Traps where a shape does not suit the convolution.
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
                "conv2d: image bias \(channelBias.shape) for \(batch) images of \(outputs) channels")
        }
        if let addend {
            precondition(
                addend.shape == geometry.outputShape,
                "conv2d: residual \(addend.shape) for outputs \(geometry.outputShape)")
        }
        self.init(bias, channelBias, addend)
    }

    /// For the channels from `channel` on; outputs are then addressed from that channel of image 0.
    func kernelEpilogue(from channel: Int, plane: Int) -> bf_epilogue {
        bf_epilogue(
            bias: bias.map { UnsafePointer($0.pointer + channel) },
            channel_bias: channelBias.map { UnsafePointer($0.pointer + channel) },
            channel_bias_step: channelBias.map { $0.shape[0] == 1 ? 0 : $0.shape[1] } ?? 0,
            addend: addend.map { UnsafePointer($0.pointer + channel * plane) })
    }

    /// bias + image bias of one image, `[OC]`; nil where there is neither.
    func rowBias(image: Int, outputs: Int) -> [Float]? {
        guard bias != nil || channelBias != nil else { return nil }
        return (0..<outputs).map { channel in
            (bias?.pointer[channel] ?? 0)
                + (channelBias.map { $0.pointer[($0.shape[0] == 1 ? 0 : image * outputs) + channel] } ?? 0)
        }
    }
}
