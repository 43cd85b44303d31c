// SPDX-License-Identifier: Apache-2.0
// Resizing as Pillow's `Image.resize(size, filter)`: on 8-bit values, one direction after the other, with weights of 22
// fractional bits. diffusers' VaeImageProcessor resizes images and masks so with the Lanczos filter, torchvision's
// `Resize` training images with the bilinear one, transformers' CLIPImageProcessor with the bicubic one.

import Foundation

/// Filters of `RGBImage.resized(width:height:filter:)`. When an image is reduced they are widened, so that they average
/// over all pixels (antialiasing).
public enum ResamplingFilter: Sendable {
    /// Lanczos with a = 3, Pillow's `LANCZOS`.
    case lanczos
    /// A triangle, Pillow's `BILINEAR`.
    case bilinear
    /// A cubic with a = -0.5, Pillow's `BICUBIC`.
    case bicubic

    /// The filter is 0 at this distance and beyond, in pixels.
    fileprivate var support: Double {
        switch self {
        case .lanczos: 3
        case .bilinear: 1
        case .bicubic: 2
        }
    }

    fileprivate func weight(_ x: Double) -> Double {
        switch self {
        case .lanczos: x >= -support && x < support ? Self.sinc(x) * Self.sinc(x / support) : 0
        case .bilinear: max(1 - abs(x), 0)
        case .bicubic: Self.cubic(abs(x))
        }
    }

    private static func cubic(_ x: Double) -> Double {
        let a = -0.5
        if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
    }

    private static func sinc(_ x: Double) -> Double {
        x == 0 ? 1 : sin(x * .pi) / (x * .pi)
    }
}

extension RGBImage {
    /// The image in another size, the aspect ratio not kept. Pixels are rounded to 8 bits first, as Pillow's are.
    ///
    /// - Precondition: `width` and `height` are positive.
    public func resized(width: Int, height: Int, filter: ResamplingFilter = .lanczos) -> RGBImage {
        precondition(width > 0 && height > 0, "RGBImage: resized to \(width)x\(height)")
        guard width != self.width || height != self.height else { return self }
        // Pillow skips the direction whose size does not change. Pillow 13 starts with the vertical one if that removes
        // enough rows; the order matters where values are clamped in between.
        let isVerticalFirst = height < self.height && self.height - height > 2 * (self.width - width)
        return isVerticalFirst
            ? vertically(to: height, filter).horizontally(to: width, filter)
            : horizontally(to: width, filter).vertically(to: height, filter)
    }

    /// The image with a short side of `side` pixels and the same aspect ratio, as torchvision's `Resize(side)`, which
    /// prepares training images. The long side is rounded down.
    ///
    /// - Precondition: `side` is positive.
    public func resized(shortSide side: Int, filter: ResamplingFilter = .bilinear) -> RGBImage {
        let long = Int(Double(side * max(width, height)) / Double(min(width, height)))
        return width <= height
            ? resized(width: side, height: long, filter: filter) : resized(width: long, height: side, filter: filter)
    }

    private func horizontally(to width: Int, _ filter: ResamplingFilter) -> RGBImage {
        guard width != self.width else { return self }
        let bytes = ResamplingWindows(filter, from: self.width, to: width).apply(
            interleaved, lines: height, lineStride: self.width * 3, step: 3, outputLineStride: width * 3,
            outputStep: 3, channels: 3)
        return RGBImage(width: width, height: height, interleaved: bytes)
    }

    private func vertically(to height: Int, _ filter: ResamplingFilter) -> RGBImage {
        guard height != self.height else { return self }
        let bytes = ResamplingWindows(filter, from: self.height, to: height).apply(
            interleaved, lines: 1, lineStride: 0, step: width * 3, outputLineStride: 0, outputStep: width * 3,
            channels: width * 3)
        return RGBImage(width: width, height: height, interleaved: bytes)
    }
}

/// The weights of one direction.
private struct ResamplingWindows {
    private static let precision = 22

    /// For each output position: the first input position and the weights from there on.
    private let windows: [(first: Int, weights: [Int32])]

    init(_ filter: ResamplingFilter, from input: Int, to output: Int) {
        let scale = Double(input) / Double(output)
        // Reducing widens the filter, so that it averages; enlarging interpolates.
        let filterScale = max(scale, 1), support = filter.support * filterScale
        windows = (0..<output).map { position in
            let center = (Double(position) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let end = min(Int(center + support + 0.5), input)
            var weights = (first..<end).map { filter.weight((Double($0) - center + 0.5) * (1 / filterScale)) }
            let sum = weights.reduce(0, +)
            if sum != 0 { weights = weights.map { $0 / sum } }
            return (first, weights.map { Int32(($0 * Double(1 << Self.precision)).rounded(.toNearestOrAwayFromZero)) })
        }
    }

    /// Filters `lines` lines of elements that are `step` bytes apart; each element has `channels` bytes.
    func apply(
        _ bytes: [UInt8], lines: Int, lineStride: Int, step: Int, outputLineStride: Int, outputStep: Int, channels: Int
    ) -> [UInt8] {
        let count = lines == 1 ? windows.count * outputStep : lines * outputLineStride
        return [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
            bytes.withUnsafeBufferPointer { bytes in
                for line in 0..<lines {
                    for (position, window) in windows.enumerated() {
                        let start = line * lineStride + window.first * step
                        let target = line * outputLineStride + position * outputStep
                        for channel in 0..<channels {
                            var sum: Int32 = 1 << (Self.precision - 1)
                            for (offset, weight) in window.weights.enumerated() {
                                sum &+= weight &* Int32(bytes[start + offset * step + channel])
                            }
                            output[target + channel] = UInt8(clamping: sum >> Self.precision)
                        }
                    }
                }
            }
            initialized = count
        }
    }
}
