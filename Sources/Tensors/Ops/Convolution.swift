// SPDX-License-Identifier: Apache-2.0
// 2-D convolution, NCHW and OIHW: by columns and matrix products, which is right for every shape, or directly where
// `DirectConvolution` takes the shape.

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

/// The same with a padding of its own on each side.
public func conv2d(_ x: Tensor, weight: Tensor, bias: Tensor?, stride: Int = 1, paddings: Padding) -> Tensor {
    let geometry = ConvolutionGeometry(x.shape, weight.shape, stride: stride, padding: paddings)
    if let bias {
        precondition(
            bias.shape == [geometry.outputs], "conv2d: bias \(bias.shape) for weight \(weight.shape)")
    }
    let output = geometry.forward(x, weight, bias)
    let (input, kernel) = (x.detached(), weight.detached())
    let needs = (x.node != nil, weight.node != nil, bias?.node != nil)
    return .custom("conv2d", inputs: [x, weight] + (bias.map { [$0] } ?? []), output: output) { g in
        let gx = needs.0 ? geometry.gradientOfInput(g, kernel) : nil
        let gw = needs.1 ? geometry.gradientOfWeight(g, input) : nil
        return [gx, gw] + (bias == nil ? [] : [needs.2 ? g.sum(axes: [0, 2, 3]) : nil])
    }
}

/// The sizes of one convolution and the three products that it needs.
struct ConvolutionGeometry: Sendable {
    let batch, inputs, outputs: Int
    let shape: bf_conv_shape
    /// Pixels of an input and of an output plane.
    let inputPlane, outputPlane: Int
    /// Rows of the column matrix: IC · KH · KW.
    let taps: Int

    /// Floats of a column buffer: it should stay in the second-level cache.
    private static let columnBudget = 1 << 18
    /// Output planes up to this size are joined over the batch, since short products are slow.
    private static let smallPlane = 128

    init(_ x: [Int], _ weight: [Int], stride: Int, padding: Padding) {
        precondition(x.count == 4 && weight.count == 4, "conv2d: x \(x) and weight \(weight) need four axes")
        precondition(
            x[1] == weight[1], "conv2d: x \(x) has \(x[1]) channels, weight \(weight) takes \(weight[1])")
        let (kh, kw) = (weight[2], weight[3])
        let oh = (x[2] + padding.top + padding.bottom - kh) / stride + 1
        let ow = (x[3] + padding.left + padding.right - kw) / stride + 1
        precondition(
            x[2] + padding.top + padding.bottom >= kh && x[3] + padding.left + padding.right >= kw,
            "conv2d: x \(x) with padding \(padding) is smaller than the kernel of weight \(weight)")
        batch = x[0]
        inputs = x[1]
        outputs = weight[0]
        shape = bf_conv_shape(
            height: Int32(x[2]), width: Int32(x[3]), out_height: Int32(oh), out_width: Int32(ow),
            kernel_height: Int32(kh), kernel_width: Int32(kw), stride: Int32(stride),
            pad_top: Int32(padding.top),
            pad_left: Int32(padding.left))
        inputPlane = x[2] * x[3]
        outputPlane = oh * ow
        taps = x[1] * kh * kw
    }

    var outputShape: [Int] { [batch, outputs, Int(shape.out_height), Int(shape.out_width)] }
    private var inputShape: [Int] { [batch, inputs, Int(shape.height), Int(shape.width)] }
    private var weightShape: [Int] { [outputs, inputs, Int(shape.kernel_height), Int(shape.kernel_width)] }
    private var kernelArea: Int { Int(shape.kernel_height * shape.kernel_width) }

    /// A 1x1 convolution without padding reads its input as the column matrix.
    private var isPointwise: Bool {
        kernelArea == 1 && shape.stride == 1 && shape.pad_top == 0 && shape.pad_left == 0
            && inputPlane == outputPlane
    }

    private var joinsBatch: Bool { batch > 1 && outputPlane <= Self.smallPlane }

    // MARK: Forward

    /// The direct kernels, where they take this shape and are faster.
    private var direct: DirectConvolution? {
        guard shape.kernel_height == 3, shape.kernel_width == 3, shape.stride == 1, shape.pad_top == 1,
            shape.pad_left == 1, shape.out_height == shape.height, shape.out_width == shape.width,
            DirectConvolution.suits(inputs: inputs, outputs: outputs, width: Int(shape.width))
        else { return nil }
        return DirectConvolution(
            batch: batch, inputs: inputs, outputs: outputs, height: Int(shape.height), width: Int(shape.width)
        )
    }

    func forward(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor {
        if let direct {
            let output = Tensor(unsafeUninitialized: outputShape)
            direct.forward(x, weight, bias, isFlipped: false, into: output)
            return output
        }
        return joinsBatch ? forwardJoined(x, weight, bias) : forwardTiled(x, weight, bias)
    }

    private func forwardTiled(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor {
        let output = Tensor(unsafeUninitialized: outputShape)
        let fitting = max(Self.columnBudget / taps / 64 * 64, 128)
        let shared = (outputPlane * batch + Threads.count - 1) / Threads.count
        let tile = min(isPointwise ? max(shared, 64) : min(fitting, max(shared, 64)), outputPlane)
        let tiles = (outputPlane + tile - 1) / tile
        Threads.parallelFor(batch * tiles) { range in
            let columns = isPointwise ? nil : Storage(count: taps * tile)
            for task in range {
                let (image, first) = (task / tiles, task % tiles * tile)
                let count = min(tile, outputPlane - first)
                let source = x.pointer + image * inputs * inputPlane
                let to = output.pointer + image * outputs * outputPlane + first
                if let columns {
                    kernels.im2col(source, columns.pointer, shape, inputs, first, count, count)
                    gemm(
                        false, false, outputs, count, taps, 1, weight.pointer, taps, columns.pointer, count,
                        0, to, outputPlane)
                } else {
                    gemm(
                        false, false, outputs, count, taps, 1, weight.pointer, taps, source + first,
                        inputPlane, 0, to, outputPlane)
                }
                guard let bias else { continue }
                for channel in 0..<outputs {
                    let row = to + channel * outputPlane
                    kernels.binary_scalar.0(row, bias.pointer[channel], row, count)
                }
            }
        }
        return output
    }

    /// All images side by side: columns [taps, group · plane], so that each product is long enough.
    private func forwardJoined(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor {
        let output = Tensor(unsafeUninitialized: outputShape)
        let group = imagesPerGroup
        let groups = (batch + group - 1) / group
        Threads.parallelFor(groups) { range in
            let columns = Storage(count: taps * group * outputPlane)
            let product = Storage(count: outputs * group * outputPlane)
            for index in range {
                let images = index * group..<min((index + 1) * group, batch)
                let width = images.count * outputPlane
                fillColumns(x, images, 0..<inputs, columns.pointer, width)
                gemm(
                    false, false, outputs, width, taps, 1, weight.pointer, taps, columns.pointer, width, 0,
                    product.pointer, width)
                for (position, image) in images.enumerated() {
                    for channel in 0..<outputs {
                        kernels.binary_scalar.0(
                            product.pointer + channel * width + position * outputPlane,
                            bias?.pointer[channel] ?? 0,
                            output.pointer + (image * outputs + channel) * outputPlane, outputPlane)
                    }
                }
            }
        }
        return output
    }

    private var imagesPerGroup: Int {
        let wanted = max(min(512 / outputPlane, Self.columnBudget * 2 / (taps * outputPlane)), 1)
        return min(wanted, max((batch + Threads.count - 1) / Threads.count, 1))
    }

    private func fillColumns(
        _ x: Tensor, _ images: Range<Int>, _ channels: Range<Int>, _ columns: UnsafeMutablePointer<Float>,
        _ width: Int
    ) {
        for (position, image) in images.enumerated() {
            kernels.im2col(
                x.pointer + (image * inputs + channels.lowerBound) * inputPlane,
                columns + position * outputPlane, shape,
                channels.count, 0, outputPlane, width)
        }
    }

    // MARK: Gradient of the input

    func gradientOfInput(_ g: Tensor, _ weight: Tensor) -> Tensor {
        if direct != nil {
            let gx = Tensor(unsafeUninitialized: inputShape)
            // The turned kernel takes the output channels in and gives the input channels out.
            DirectConvolution(
                batch: batch, inputs: outputs, outputs: inputs, height: Int(shape.height),
                width: Int(shape.width)
            ).forward(g, weight, nil, isFlipped: true, into: gx)
            return gx
        }
        return shape.stride == 1 ? gradientByFlippedKernel(g, weight) : gradientByColumns(g, weight)
    }

    /// With stride 1 the gradient is a convolution of `g` with the kernel turned by 180 degrees, channels exchanged.
    private func gradientByFlippedKernel(_ g: Tensor, _ weight: Tensor) -> Tensor {
        let area = kernelArea
        let flipped = Tensor(unsafeUninitialized: [inputs, outputs, weightShape[2], weightShape[3]])
        Threads.parallelFor(inputs, grain: max(elementwiseGrain / (outputs * area), 1)) { range in
            for input in range {
                for output in 0..<outputs {
                    let from = weight.pointer + (output * inputs + input) * area
                    let to = flipped.pointer + (input * outputs + output) * area
                    for tap in 0..<area { to[tap] = from[area - 1 - tap] }
                }
            }
        }
        let (top, left) = (weightShape[2] - 1 - Int(shape.pad_top), weightShape[3] - 1 - Int(shape.pad_left))
        guard top >= 0, left >= 0 else { return gradientByColumns(g, weight) }
        let bottom = inputShape[2] - outputShape[2] - top + weightShape[2] - 1
        let right = inputShape[3] - outputShape[3] - left + weightShape[3] - 1
        let reverse = ConvolutionGeometry(
            g.shape, flipped.shape, stride: 1,
            padding: Padding(top: top, left: left, bottom: bottom, right: right))
        return reverse.forward(g, flipped, nil)
    }

    private func gradientByColumns(_ g: Tensor, _ weight: Tensor) -> Tensor {
        let gx = Tensor.zeros(inputShape)
        Threads.parallelFor(batch) { range in
            let columns = Storage(count: taps * outputPlane)
            for image in range {
                gemm(
                    true, false, taps, outputPlane, outputs, 1, weight.pointer, taps,
                    g.pointer + image * outputs * outputPlane, outputPlane, 0, columns.pointer, outputPlane)
                kernels.col2im(columns.pointer, gx.pointer + image * inputs * inputPlane, shape, inputs)
            }
        }
        return gx
    }

    // MARK: Gradient of the weight

    /// Each task owns a block of input channels and adds up the images in order: no partial sums, same bits for any
    /// number of threads.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        if let direct, direct.hasWeightGradient { return direct.gradientOfWeight(g, x) }
        let gw = Tensor(unsafeUninitialized: weightShape)
        let joined = joinsBatch
        let gradient = joined ? g.detached().permuted([1, 0, 2, 3]) : g
        let group = joined ? imagesPerGroup : 1
        let block = channelBlock
        let blocks = (inputs + block - 1) / block
        let tile = joined ? outputPlane : min(outputPlane, max(Self.columnBudget / (block * kernelArea), 256))
        Threads.parallelFor(blocks) { range in
            let columns = Storage(count: block * kernelArea * max(tile, group * outputPlane))
            for index in range {
                let channels = index * block..<min((index + 1) * block, inputs)
                let rows = channels.count * kernelArea
                let to = gw.pointer + channels.lowerBound * kernelArea
                var beta: Float = 0
                for start in stride(from: 0, to: batch, by: group) {
                    if joined {
                        let images = start..<min(start + group, batch)
                        let width = images.count * outputPlane
                        fillColumns(x, images, channels, columns.pointer, width)
                        gemm(
                            false, true, outputs, rows, width, 1, gradient.pointer + start * outputPlane,
                            batch * outputPlane, columns.pointer, width, beta, to, taps)
                        beta = 1
                        continue
                    }
                    let source = x.pointer + (start * inputs + channels.lowerBound) * inputPlane
                    for first in stride(from: 0, to: outputPlane, by: tile) {
                        let count = min(tile, outputPlane - first)
                        let from = gradient.pointer + start * outputs * outputPlane + first
                        if isPointwise {
                            gemm(
                                false, true, outputs, rows, count, 1, from, outputPlane, source + first,
                                inputPlane, beta, to, taps)
                        } else {
                            kernels.im2col(
                                source, columns.pointer, shape, channels.count, first, count, count)
                            gemm(
                                false, true, outputs, rows, count, 1, from, outputPlane, columns.pointer,
                                count, beta, to, taps)
                        }
                        beta = 1
                    }
                }
            }
        }
        return gw
    }

    /// Channels a task: at least about 128 columns of the product, at most 512.
    private var channelBlock: Int {
        let least = max((128 + kernelArea - 1) / kernelArea, 1)
        let even = (inputs + 3) / 4
        return min(max(least, min(even, max(512 / kernelArea, 1))), max(inputs, 1))
    }
}
