// SPDX-License-Identifier: Apache-2.0
// Activations rounded to int8 when they are used: one scale for each token, or for each pixel over its channels.
// K channels, D bytes of a token or pixel: K rounded up.

import CKernels

/// Tokens or pixels in int8, D bytes each, with a scale and the sum of the values of each.
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
        let own = self
        nonisolated(unsafe) let x = x
        Threads.parallelFor(rows, grain: max(elementwiseGrain / max(channels, 1), 1)) { range in
            let first = range.lowerBound
            integerKernels.quantize_rows(
                x + first * channels, range.count, channels, channels, own.pixels + first * own.depth,
                own.depth, own.scales + first, own.sums + first)
        }
    }

    /// One image `[K, H, W]` with its padding: pixel (y, x) of the input is pixel (y + top) * width + x + left.
    init(image x: UnsafePointer<Float>, _ place: PaddedImage, channels: Int) {
        self.init(count: place.rows * place.width, channels: channels)
        let own = self
        nonisolated(unsafe) let x = x
        let plane = place.height * place.inputWidth
        guard place.isPadded else {
            Threads.parallelFor(plane, grain: max(elementwiseGrain / max(channels, 1), 16)) { range in
                own.quantize(x, channels, plane, range, at: range.lowerBound)
            }
            return
        }
        Threads.parallelFor(
            place.rows, grain: max(elementwiseGrain / max(channels * place.inputWidth, 1), 1)
        ) { rows in
            for row in rows {
                let (start, y) = (row * place.width, row - place.top)
                guard (0..<place.height).contains(y) else {
                    own.clear(start..<start + place.width)
                    continue
                }
                let inside = start + place.left
                own.clear(start..<inside)
                own.quantize(
                    x, channels, plane, y * place.inputWidth..<(y + 1) * place.inputWidth, at: inside)
                own.clear(inside + place.inputWidth..<start + place.width)
            }
        }
    }

    private func quantize(
        _ x: UnsafePointer<Float>, _ channels: Int, _ plane: Int, _ range: Range<Int>, at target: Int
    ) {
        integerKernels.quantize_image(
            x, channels, plane, range.lowerBound, range.count, pixels + target * depth, depth,
            scales + target, sums + target)
    }

    /// Pixels of zeros.
    private func clear(_ range: Range<Int>) {
        (pixels + range.lowerBound * depth).update(repeating: 0, count: range.count * depth)
        (scales + range.lowerBound).update(repeating: 0, count: range.count)
        (sums + range.lowerBound).update(repeating: 0, count: range.count)
    }
}

/// Where an image lies in itself and its padding.
struct PaddedImage {
    /// Of the input.
    let height, inputWidth: Int
    let top, left: Int
    /// Of the input with its padding.
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
