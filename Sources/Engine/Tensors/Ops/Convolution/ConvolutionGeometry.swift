// SPDX-License-Identifier: Apache-2.0
// The padding and the sizes of one convolution.

import CKernels

/// Zero padding of a convolution, in pixels; negative values crop the input. An integer literal is the padding of all
/// sides.
public struct Padding: Sendable, Equatable, ExpressibleByIntegerLiteral {
    public var top, left, bottom, right: Int

    public init(top: Int, left: Int, bottom: Int, right: Int) {
        (self.top, self.left, self.bottom, self.right) = (top, left, bottom, right)
    }

    /// The same padding on all sides.
    public init(_ all: Int) { self.init(top: all, left: all, bottom: all, right: all) }
    public init(integerLiteral all: Int) { self.init(all) }
}

/// The sizes of one convolution.
struct ConvolutionGeometry: Sendable {
    let batch, inputs, outputs: Int
    let shape: bf_conv_shape
    /// Number of pixels of an input plane and of an output plane.
    let inputPlane, outputPlane: Int
    /// Number of rows of the column matrix: IC · KH · KW.
    let taps: Int

    init(_ x: [Int], _ weight: [Int], stride: Int, padding: Padding) {
        precondition(x.count == 4 && weight.count == 4, "conv2d: x \(x) and weight \(weight) need four axes")
        precondition(
            x[1] == weight[1], "conv2d: x \(x) has \(x[1]) channels, weight \(weight) takes \(weight[1])")
        let (kh, kw) = (weight[2], weight[3])
        precondition(
            stride > 0 && weight.dropFirst().allSatisfy { $0 > 0 },
            "conv2d: stride \(stride) and weight \(weight): stride, input channels and kernel must be positive"
        )
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
            pad_top: Int32(padding.top), pad_left: Int32(padding.left))
        inputPlane = x[2] * x[3]
        outputPlane = oh * ow
        taps = x[1] * kh * kw
    }

    var outputShape: [Int] { [batch, outputs, Int(shape.out_height), Int(shape.out_width)] }
    var inputShape: [Int] { [batch, inputs, Int(shape.height), Int(shape.width)] }
    var weightShape: [Int] { [outputs, inputs, Int(shape.kernel_height), Int(shape.kernel_width)] }
    var kernelArea: Int { Int(shape.kernel_height * shape.kernel_width) }

    /// A 1x1 convolution with stride 1 and without padding: the input is the column matrix.
    var isPointwise: Bool {
        kernelArea == 1 && shape.stride == 1 && shape.pad_top == 0 && shape.pad_left == 0
            && inputPlane == outputPlane
    }

    /// The convolution of `g` `[N, OC, OH, OW]` with the kernel rotated by 180 degrees that is the gradient of the
    /// input; nil if there is none (for a stride above 1, or a padding larger than the kernel size - 1).
    var reversed: ConvolutionGeometry? {
        let (top, left) = (weightShape[2] - 1 - Int(shape.pad_top), weightShape[3] - 1 - Int(shape.pad_left))
        guard shape.stride == 1, top >= 0, left >= 0 else { return nil }
        let bottom = inputShape[2] - outputShape[2] - top + weightShape[2] - 1
        let right = inputShape[3] - outputShape[3] - left + weightShape[3] - 1
        return ConvolutionGeometry(
            outputShape, [inputs, outputs, weightShape[2], weightShape[3]], stride: 1,
            padding: Padding(top: top, left: left, bottom: bottom, right: right))
    }

    /// 3x3 with stride 1, without cropping.
    var suitsWinograd: Bool {
        shape.kernel_height == 3 && shape.kernel_width == 3 && shape.stride == 1 && shape.pad_top >= 0
            && shape.pad_left >= 0
    }

    /// Number of tiles of m x m outputs in all images.
    func tiles(_ m: Int) -> Int {
        batch * ((Int(shape.out_height) + m - 1) / m) * ((Int(shape.out_width) + m - 1) / m)
    }
}
