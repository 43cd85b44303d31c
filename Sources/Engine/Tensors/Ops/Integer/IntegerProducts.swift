// SPDX-License-Identifier: Apache-2.0
// Linear layers and convolutions with low-bit weights. Activations are quantized to int8, sums of products are exact
// integers, and scales, biases and residuals are applied when outputs are stored. For inference only: not
// differentiable. M rows (tokens, or output pixels of an image), N images, IC/OC channels.

import CKernels

/// `x` `[..., IC]` · `weight` `[OC, IC]`ᵀ + `bias` `[OC]` + `residual` `[..., OC]` → `[..., OC]`, with `x` quantized to
/// int8 per token.
public func linear(_ x: Tensor, weight: IntegerWeight, bias: Tensor?, residual: Tensor? = nil) -> Tensor {
    let matrix = weight.matrix
    let sizes = LinearProduct(x, weightShape: matrix.shape, bias, residual)
    let output = Tensor(unsafeUninitialized: sizes.outputShape)
    guard sizes.rows > 0 else { return output }
    let activations = IntegerActivations(rows: x.pointer, rows: sizes.rows, channels: sizes.inputs)
    var product = bf_integer_product(weight, activations)
    product.bias = bias.map { UnsafePointer($0.pointer) }
    product.addend = residual.map { UnsafePointer($0.pointer) }
    product.y = output.pointer
    product.y_step = sizes.outputs
    product.run(rows: sizes.rows, panels: matrix.panelCount)
    withExtendedLifetime((x, weight, activations, bias, residual)) {}
    return output
}

/// `x` `[N, IC, H, W]` ∗ `weight` `[OC, IC, KH, KW]` + `bias` `[OC]` + `channelBias` `[N or 1, OC]` + `residual` →
/// `[N, OC, OH, OW]`, with `x` quantized to int8 per pixel.
///
/// - Precondition: the padding is not negative.
public func conv2d(
    _ x: Tensor, weight: IntegerWeight, bias: Tensor?, stride: Int = 1, padding: Padding = 0,
    channelBias: Tensor? = nil, residual: Tensor? = nil
) -> Tensor {
    let matrix = weight.matrix
    let geometry = ConvolutionGeometry(x.shape, matrix.shape, stride: stride, padding: padding)
    precondition(
        min(padding.top, padding.left, padding.bottom, padding.right) >= 0,
        "conv2d: padding \(padding) is negative")
    let epilogue = ConvolutionEpilogue(checking: geometry, bias, channelBias, residual)
    let output = Tensor(unsafeUninitialized: geometry.outputShape)
    let (batch, outputs, plane) = (geometry.batch, geometry.outputs, geometry.outputPlane)
    guard output.count > 0 else { return output }
    let padded = PaddedImage(geometry, padding)
    let (rowPixels, tapSteps) = geometry.pixels(in: padded, stride: stride)
    rowPixels.withUnsafeBufferPointer { rowPixels in
        tapSteps.withUnsafeBufferPointer { tapSteps in
            func compute(_ image: Int) {
                let activations = IntegerActivations(
                    image: x.pointer + image * geometry.inputs * geometry.inputPlane, padded,
                    channels: geometry.inputs)
                var product = bf_integer_product(weight, activations)
                product.row_pixel = rowPixels.isEmpty ? nil : rowPixels.baseAddress
                product.segment_step = tapSteps.isEmpty ? nil : tapSteps.baseAddress
                let ending = epilogue.kernelEpilogue(from: 0, plane: plane)
                product.bias = ending.bias
                product.channel_bias = ending.channel_bias.map { $0 + image * ending.channel_bias_step }
                product.addend = ending.addend.map { $0 + image * outputs * plane }
                product.y = output.pointer + image * outputs * plane
                product.y_step = plane
                product.channels_first = true
                product.run(rows: plane, panels: matrix.panelCount)
                withExtendedLifetime(activations) {}
            }
            // Loops inside `compute` run on the calling thread if the outer loop is parallel.
            if batch >= 2 * Threads.count {
                Threads.parallelFor(batch) { for image in $0 { compute(image) } }
            } else {
                for image in 0..<batch { compute(image) }
            }
        }
    }
    withExtendedLifetime((x, weight, epilogue)) {}
    return output
}

extension ConvolutionGeometry {
    /// The index of the first input pixel of each output pixel, and the steps to the other taps, in a padded image.
    /// Both are empty for 1x1 convolutions, whose output pixels have the indices of their input pixels.
    fileprivate func pixels(in padded: PaddedImage, stride: Int) -> (rows: [Int32], taps: [Int32]) {
        if kernelArea == 1, stride == 1, !padded.isPadded { return ([], []) }
        let (height, width) = (outputShape[2], outputShape[3])
        var rows: [Int32] = []
        rows.reserveCapacity(height * width)
        for y in 0..<height {
            for x in 0..<width { rows.append(Int32(y * stride * padded.width + x * stride)) }
        }
        let taps = (0..<weightShape[2]).flatMap { ky in
            (0..<weightShape[3]).map { kx in Int32(ky * padded.width + kx) }
        }
        return (rows, taps)
    }
}

extension bf_integer_product {
    fileprivate init(_ weight: IntegerWeight, _ activations: IntegerActivations) {
        self.init()
        shape = weight.matrix.layout
        weights = UnsafePointer(weight.matrix.panels.bytes)
        weight_scales = UnsafePointer(weight.scales.pointer)
        pixels = UnsafePointer(activations.pixels)
        pixel_scales = UnsafePointer(activations.scales)
        pixel_sums = UnsafePointer(activations.sums)
    }

    /// Minimum and maximum number of rows of a task; smaller products run on one thread.
    private static let minRows = 104, maxRows = 416, minProducts = 1 << 18

    /// All rows and panels, divided over the threads by rows, or by panels if there are few rows. Every task first
    /// transposes the activations of its rows; tasks of panels repeat that work, so that there is one per thread.
    fileprivate func run(rows: Int, panels: Int) {
        let products = rows * shape.outputs * shape.inputs * shape.segments
        if products < Self.minProducts {
            run(0..<rows, 0..<panels)
        } else if rows >= Self.minRows * Threads.count {
            // The same number of equal parts for each thread.
            let perThread = (rows + Threads.count * Self.maxRows - 1) / (Threads.count * Self.maxRows)
            let parts = perThread * Threads.count
            Threads.parallelFor(rows, grain: (rows + parts - 1) / parts) { run($0, 0..<panels) }
        } else {
            let panelsPerThread = (panels + Threads.count - 1) / Threads.count
            Threads.parallelFor(panels, grain: panelsPerThread) { run(0..<rows, $0) }
        }
    }

    private func run(_ rows: Range<Int>, _ panels: Range<Int>) {
        var part = self
        (part.first_row, part.rows) = (rows.lowerBound, rows.count)
        (part.first_panel, part.panels) = (panels.lowerBound, panels.count)
        let scratch = Storage(byteCount: integerKernels.product_scratch(&part))
        withExtendedLifetime(scratch) { integerKernels.product(&part, scratch.pointer) }
    }
}
