// SPDX-License-Identifier: Apache-2.0
// Linear layers and convolutions on low-bit weights: activations are rounded to int8, sums of products are exact integers,
// and scales, biases and what follows are applied as outputs are stored. For inference: nothing is kept for a gradient.
// M rows (tokens, or output pixels of an image), N images, IC/OC channels.

import CKernels

/// `x` `[..., IC]` · `weight` `[OC, IC]`ᵀ + `bias` `[OC]` + `residual` `[..., OC]` → `[..., OC]`, with `x` rounded to int8
/// token by token.
public func linear(
    _ x: Tensor, weight: IntegerWeight, bias: Tensor?, residual: Tensor? = nil
) -> Tensor {
    let matrix = weight.matrix
    precondition(
        matrix.shape.count == 2 && x.rank > 0 && x.shape[x.rank - 1] == matrix.shape[1],
        "linear: x \(x.shape) · weight \(matrix.shape)ᵀ: inner dimensions differ")
    let (outputs, inputs) = (matrix.shape[0], matrix.shape[1])
    if let bias { precondition(bias.shape == [outputs], "linear: bias \(bias.shape) for \(outputs) outputs") }
    let shape = Array(x.shape.dropLast()) + [outputs]
    if let residual {
        precondition(residual.shape == shape, "linear: residual \(residual.shape) for outputs \(shape)")
    }
    let rows = shape.dropLast().reduce(1, *)
    let output = Tensor(unsafeUninitialized: shape)
    guard rows > 0 else { return output }
    let activations = IntegerActivations(rows: x.pointer, rows: rows, channels: inputs)
    var product = bf_integer_product(weight, activations)
    product.bias = bias.map { UnsafePointer($0.pointer) }
    product.addend = residual.map { UnsafePointer($0.pointer) }
    product.y = output.pointer
    product.y_step = outputs
    product.run(rows: rows, panels: matrix.panelCount)
    withExtendedLifetime((x, weight, activations, bias, residual)) {}
    return output
}

/// `x` `[N, IC, H, W]` ∗ `weight` `[OC, IC, KH, KW]` + `bias` `[OC]` + `channelBias` `[N or 1, OC]` + `residual` →
/// `[N, OC, OH, OW]`, with `x` rounded to int8 pixel by pixel.
///
/// - Precondition: no negative padding.
public func conv2d(
    _ x: Tensor, weight: IntegerWeight, bias: Tensor?, stride: Int = 1, paddings: Padding,
    channelBias: Tensor? = nil, residual: Tensor? = nil
) -> Tensor {
    let matrix = weight.matrix
    let geometry = ConvolutionGeometry(x.shape, matrix.shape, stride: stride, padding: paddings)
    precondition(
        min(paddings.top, paddings.left, paddings.bottom, paddings.right) >= 0,
        "conv2d: padding \(paddings) cuts pixels off")
    let epilogue = ConvolutionEpilogue(checking: geometry, bias, channelBias, residual)
    let output = Tensor(unsafeUninitialized: geometry.outputShape)
    let (batch, outputs, plane) = (geometry.batch, geometry.outputs, geometry.outputPlane)
    guard output.count > 0 else { return output }
    let place = PaddedImage(geometry, paddings)
    let (rowPixels, tapSteps) = geometry.pixels(in: place, stride: stride)
    rowPixels.withUnsafeBufferPointer { rowPixels in
        tapSteps.withUnsafeBufferPointer { tapSteps in
            func compute(_ image: Int) {
                let activations = IntegerActivations(
                    image: x.pointer + image * geometry.inputs * geometry.inputPlane, place,
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
            // Inner loops run inline where the outer one is parallel.
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
    /// For each output pixel the input pixel under its first tap, and the steps to the other taps, in a padded image; no
    /// list where every output pixel is the input pixel of its own number.
    fileprivate func pixels(in place: PaddedImage, stride: Int) -> (rows: [Int32], taps: [Int32]) {
        if kernelArea == 1, stride == 1, !place.isPadded { return ([], []) }
        let (height, width) = (outputShape[2], outputShape[3])
        var rows: [Int32] = []
        rows.reserveCapacity(height * width)
        for y in 0..<height {
            for x in 0..<width { rows.append(Int32(y * stride * place.width + x * stride)) }
        }
        let taps = (0..<weightShape[2]).flatMap { ky in
            (0..<weightShape[3]).map { kx in Int32(ky * place.width + kx) }
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

    /// Rows that a thread takes at least, and at most at a time; products too few to share out.
    private static let fewRows = 104, manyRows = 416, fewProducts = 1 << 18

    /// All rows and panels, cut over the threads by rows, or by panels where rows are few. What a thread takes begins with
    /// rearranging the activations of its rows, so that a cut by panels is one part a thread.
    fileprivate func run(rows: Int, panels: Int) {
        nonisolated(unsafe) let whole = self
        let products = rows * shape.outputs * shape.inputs * shape.segments
        if products < Self.fewProducts {
            whole.run(0..<rows, 0..<panels)
        } else if rows >= Self.fewRows * Threads.count {
            // As many equal parts for each thread.
            let perThread = (rows + Threads.count * Self.manyRows - 1) / (Threads.count * Self.manyRows)
            let parts = perThread * Threads.count
            Threads.parallelFor(rows, grain: (rows + parts - 1) / parts) { whole.run($0, 0..<panels) }
        } else {
            let share = (panels + Threads.count - 1) / Threads.count
            Threads.parallelFor(panels, grain: share) { whole.run(0..<rows, $0) }
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
