// SPDX-License-Identifier: Apache-2.0
// Dynamic activation quantization to int8: one scale per token, or per pixel over its channels.
// K channels, D bytes of a token or pixel: K rounded up.

import CKernels

/// Tokens or pixels in int8, D bytes each, and the scale and the sum of the values of each.
struct IntegerActivations {
    let depth: Int
    private let values, scaleValues, sumValues: Storage

    init(count: Int, channels: Int) {
        depth = bf_integer_depth(channels)
        values = Storage(byteCount: count * depth)
        scaleValues = Storage(count: count)
        sumValues = Storage(count: count)
    }

    var pixels: UnsafeMutablePointer<Int8> {
        UnsafeMutableRawPointer(values.pointer).assumingMemoryBound(to: Int8.self)
    }
    var scales: UnsafeMutablePointer<Float> { scaleValues.pointer }
    var sums: UnsafeMutablePointer<Int32> {
        UnsafeMutableRawPointer(sumValues.pointer).assumingMemoryBound(to: Int32.self)
    }

    /// Rows `[rows, channels]`.
    init(rows x: UnsafePointer<Float>, rows: Int, channels: Int) {
        self.init(count: rows, channels: channels)
        let target = self
        Threads.parallelFor(rows, grain: Threads.rowGrain(channels)) { range in
            let first = range.lowerBound
            integerKernels.quantize_rows(
                x + first * channels, range.count, channels, channels, target.pixels + first * target.depth,
                target.depth, target.scales + first, target.sums + first)
        }
    }

    /// One image `[K, H, W]` with its padding: pixel (y, x) of the input is pixel (y + top) * width + x + left.
    init(image x: UnsafePointer<Float>, _ padded: PaddedImage, channels: Int) {
        self.init(count: padded.rows * padded.width, channels: channels)
        let target = self
        let plane = padded.height * padded.inputWidth
        guard padded.isPadded else {
            Threads.parallelFor(plane, grain: max(elementwiseGrain / max(channels, 1), 16)) { range in
                target.quantize(x, channels, plane, range, at: range.lowerBound)
            }
            return
        }
        Threads.parallelFor(
            padded.rows, grain: Threads.rowGrain(channels * padded.inputWidth)
        ) { rows in
            for row in rows {
                let (start, y) = (row * padded.width, row - padded.top)
                guard (0..<padded.height).contains(y) else {
                    target.clear(start..<start + padded.width)
                    continue
                }
                let inside = start + padded.left
                target.clear(start..<inside)
                target.quantize(
                    x, channels, plane, y * padded.inputWidth..<(y + 1) * padded.inputWidth, at: inside)
                target.clear(inside + padded.inputWidth..<start + padded.width)
            }
        }
    }

    private func quantize(
        _ x: UnsafePointer<Float>, _ channels: Int, _ plane: Int, _ range: Range<Int>, at position: Int
    ) {
        integerKernels.quantize_image(
            x, channels, plane, range.lowerBound, range.count, pixels + position * depth, depth,
            scales + position, sums + position)
    }

    /// Sets pixels to zero.
    private func clear(_ range: Range<Int>) {
        (pixels + range.lowerBound * depth).update(repeating: 0, count: range.count * depth)
        (scales + range.lowerBound).update(repeating: 0, count: range.count)
        (sums + range.lowerBound).update(repeating: 0, count: range.count)
    }
}

/// The sizes of an image with its padding.
struct PaddedImage {
    /// Size of the input.
    let height, inputWidth: Int
    /// Position of the input in the padded image.
    let top, left: Int
    /// Size of the padded image.
    let rows, width: Int

    init(_ geometry: ConvolutionGeometry, _ padding: Padding) {
        height = geometry.inputShape[2]
        inputWidth = geometry.inputShape[3]
        (top, left) = (padding.top, padding.left)
        rows = top + height + padding.bottom
        width = left + inputWidth + padding.right
    }

    var isPadded: Bool { rows != height || width != inputWidth }
}
