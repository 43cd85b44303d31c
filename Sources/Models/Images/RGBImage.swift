// SPDX-License-Identifier: Apache-2.0
// RGB images in memory, channels first: `[3, height, width]`, rows from the top.

/// An RGB image with values in 0...1.
public struct RGBImage: Hashable, Sendable {
    public let width: Int
    public let height: Int
    /// `[3, height, width]`, 0 (black) to 1. Values out of range are clamped when the image is written to a file.
    public var pixels: [Float]

    /// An image from its pixels, `[3, height, width]`.
    ///
    /// - Precondition: `pixels` holds 3 * `height` * `width` values.
    public init(width: Int, height: Int, pixels: [Float]) {
        precondition(
            width > 0 && height > 0 && pixels.count == 3 * width * height,
            "RGBImage: \(pixels.count) values for [3, \(height), \(width)]")
        self.width = width
        self.height = height
        self.pixels = pixels
    }

    /// An image of one color.
    public init(width: Int, height: Int, filledWith rgb: SIMD3<Float>) {
        let area = width * height
        self.init(
            width: width, height: height,
            pixels: (0..<3).flatMap { Array(repeating: rgb[$0], count: area) })
    }

    /// An image from bytes, `[height, width, 3]`, 0 to 255.
    ///
    /// - Precondition: `interleaved` holds 3 * `height` * `width` bytes.
    public init(width: Int, height: Int, interleaved bytes: [UInt8]) {
        precondition(
            width > 0 && height > 0 && bytes.count == 3 * width * height,
            "RGBImage: \(bytes.count) bytes for [\(height), \(width), 3]")
        let area = width * height
        var pixels = [Float](repeating: 0, count: 3 * area)
        for channel in 0..<3 {
            for offset in 0..<area { pixels[channel * area + offset] = Float(bytes[3 * offset + channel]) / 255 }
        }
        self.init(width: width, height: height, pixels: pixels)
    }

    /// The image as bytes, `[height, width, 3]`: values are clamped to 0...1 and rounded to 0...255; NaN becomes 0.
    public var interleaved: [UInt8] {
        let area = width * height
        var bytes = [UInt8](repeating: 0, count: 3 * area)
        for channel in 0..<3 {
            for offset in 0..<area {
                // NaN > 0 is false, so that NaN becomes 0; its conversion to UInt8 would trap.
                let value = pixels[channel * area + offset]
                bytes[3 * offset + channel] = value > 0 ? UInt8((min(value, 1) * 255).rounded()) : 0
            }
        }
        return bytes
    }

    /// The brightness of the pixels, `[height, width]`, 0 to 1 in steps of 1/255, as Pillow's `convert("L")` computes
    /// it from 8-bit values (ITU-R BT.601). diffusers converts masks so, and paints where the result is 0.5 or more.
    public var grayscale: [Float] {
        let bytes = interleaved
        return (0..<width * height).map { offset in
            let (red, green, blue) = (Int(bytes[3 * offset]), Int(bytes[3 * offset + 1]), Int(bytes[3 * offset + 2]))
            return Float((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) / 255
        }
    }

    /// An image from values v in a model's range [-1, 1]: (v + 1) / 2, clamped to 0...1.
    ///
    /// - Precondition: `modelRange` holds 3 * `height` * `width` values, `[3, height, width]`.
    public init(width: Int, height: Int, modelRange: some Sequence<Float>) {
        self.init(width: width, height: height, pixels: modelRange.map { min(max(0.5 * $0 + 0.5, 0), 1) })
    }

    /// The pixels p in a model's range [-1, 1]: 2p - 1, `[3, height, width]`.
    public var modelRange: [Float] { pixels.map { 2 * $0 - 1 } }

    /// The color of the pixel in column `x` and row `y`.
    public subscript(x: Int, y: Int) -> SIMD3<Float> {
        get {
            let area = width * height, offset = y * width + x
            return SIMD3(pixels[offset], pixels[area + offset], pixels[2 * area + offset])
        }
        set {
            let area = width * height, offset = y * width + x
            for channel in 0..<3 { pixels[channel * area + offset] = newValue[channel] }
        }
    }
}
