// SPDX-License-Identifier: Apache-2.0
// The sizes of one convolution, and its three products handed to the algorithm that is fastest for them.

import CKernels

/// The sizes of one convolution.
struct ConvolutionGeometry: Sendable {
    let batch, inputs, outputs: Int
    let shape: bf_conv_shape
    /// Pixels of an input and of an output plane.
    let inputPlane, outputPlane: Int
    /// Rows of the column matrix: IC · KH · KW.
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

    /// A 1x1 convolution without padding reads its input as the column matrix.
    var isPointwise: Bool {
        kernelArea == 1 && shape.stride == 1 && shape.pad_top == 0 && shape.pad_left == 0
            && inputPlane == outputPlane
    }

    /// The convolution of `g` `[N, OC, OH, OW]` with the kernel turned by 180 degrees that gives the gradient of the
    /// input; nil where none does (a stride above 1, or more padding than the kernel reaches).
    var reversed: ConvolutionGeometry? {
        let (top, left) = (weightShape[2] - 1 - Int(shape.pad_top), weightShape[3] - 1 - Int(shape.pad_left))
        guard shape.stride == 1, top >= 0, left >= 0 else { return nil }
        let bottom = inputShape[2] - outputShape[2] - top + weightShape[2] - 1
        let right = inputShape[3] - outputShape[3] - left + weightShape[3] - 1
        return ConvolutionGeometry(
            outputShape, [inputs, outputs, weightShape[2], weightShape[3]], stride: 1,
            padding: Padding(top: top, left: left, bottom: bottom, right: right))
    }

    func forward(_ x: Tensor, _ weight: Tensor, _ epilogue: ConvolutionEpilogue) -> Tensor {
        let output = Tensor(unsafeUninitialized: outputShape)
        guard output.count > 0 else { return output }
        switch ConvolutionAlgorithm.forForward(self, isWeightKept: weight.packsOnce) {
        case .winograd(let m):
            let factors = WinogradWeight(m, outputs: outputs, inputs: inputs).factors(of: weight)
            WinogradConvolution(self, m).forward(x, factors, epilogue, into: output)
        case .columns: ColumnConvolution(self).forward(x, weight, epilogue, into: output)
        }
        return output
    }

    /// `isFrozen`: `weight` is not trained, so that its transform is worth keeping.
    func gradientOfInput(_ g: Tensor, _ weight: Tensor, isFrozen: Bool) -> Tensor {
        guard let reversed else { return ColumnConvolution(self).gradientOfInputByColumns(g, weight) }
        let isKept = isFrozen && weight.packsOnce
        let algorithm = ConvolutionAlgorithm.forForward(reversed, isWeightKept: isKept)
        // Turning a weight larger than the images costs more than adding up their columns.
        if algorithm == .columns, outputs > batch * outputPlane {
            return ColumnConvolution(self).gradientOfInputByColumns(g, weight)
        }
        let gx = Tensor(unsafeUninitialized: inputShape)
        guard gx.count > 0 else { return gx }
        switch algorithm {
        case .winograd(let m):
            let factors = WinogradWeight(m, outputs: outputs, inputs: inputs).turnedFactors(
                of: weight, isKept: isKept)
            WinogradConvolution(reversed, m).forward(g, factors, .init(), into: gx)
        case .columns:
            ColumnConvolution(reversed).forward(g, turned(weight), .init(), into: gx)
        }
        return gx
    }

    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: weightShape)
        guard gradient.count > 0 else { return gradient }
        guard batch > 0 else { return .zeros(weightShape) }
        switch ConvolutionAlgorithm.forWeightGradient(self) {
        case .winograd(let m): WinogradConvolution(self, m).gradientOfWeight(g, x, into: gradient)
        case .columns: ColumnConvolution(self).gradientOfWeight(g, x, into: gradient)
        }
        return gradient
    }

    /// `weight` `[OC, IC, KH, KW]` with its channels exchanged and each kernel turned by 180 degrees.
    private func turned(_ weight: Tensor) -> Tensor {
        let area = kernelArea
        let filters = weight.pointer
        let turned = Tensor(unsafeUninitialized: [inputs, outputs, weightShape[2], weightShape[3]])
        if area == 1 {
            Threads.parallelFor(inputs, grain: max(elementwiseGrain / max(outputs, 1), 1)) { range in
                kernels.transpose(
                    filters + range.lowerBound, turned.pointer + range.lowerBound * outputs, outputs,
                    range.count, inputs, outputs)
            }
            return turned
        }
        Threads.parallelFor(inputs, grain: max(elementwiseGrain / max(outputs * area, 1), 1)) { range in
            for input in range {
                for output in 0..<outputs {
                    let from = filters + (output * inputs + input) * area
                    let to = turned.pointer + (input * outputs + output) * area
                    for tap in 0..<area { to[tap] = from[area - 1 - tap] }
                }
            }
        }
        return turned
    }
}
