// SPDX-License-Identifier: Apache-2.0
// PNG files: 8-bit RGB without alpha, written with libpng's simplified interface.

import CPNG
import Files

/// Why an image cannot be encoded as PNG.
public enum PNGError: Error, Equatable, Sendable {
    /// libpng failed for an image of this size with this message.
    case encoding(width: Int, height: Int, message: String)
}

extension PNGError {
    public var description: String {
        switch self {
        case .encoding(let width, let height, let message):
            "PNG of \(width)x\(height) pixels: libpng: \(message); write a smaller image"
        }
    }
}

/// Encodes images as PNG and writes them to files.
public enum PNGFile {
    /// Writes `image` to the file at `path`, which is created or replaced as a whole.
    ///
    /// - Throws: `PNGError.encoding`; the errors of `AtomicFile.write`, after which an existing file is unchanged.
    public static func write(_ image: RGBImage, to path: String) throws {
        try AtomicFile.write(encode(image), to: path)
    }

    /// The bytes of a PNG file. Values are clamped to 0...1 and rounded to 0...255; NaN becomes 0.
    ///
    /// - Throws: `PNGError.encoding` if libpng fails, for example for lack of memory.
    public static func encode(_ image: RGBImage) throws(PNGError) -> [UInt8] {
        let rows = interleaved(image)
        var header = png_image()
        header.version = png_uint_32(PNG_IMAGE_VERSION)
        header.width = png_uint_32(image.width)
        header.height = png_uint_32(image.height)
        header.format = png_uint_32(PNG_FORMAT_RGB)
        defer { png_image_free(&header) }

        // The first call determines the size, the second one writes the bytes.
        var size: png_alloc_size_t = 0
        guard png_image_write_to_memory(&header, nil, &size, 0, rows, 0, nil) != 0 else {
            throw failure(header, image)
        }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        guard png_image_write_to_memory(&header, &bytes, &size, 0, rows, 0, nil) != 0 else {
            throw failure(header, image)
        }
        return Array(bytes.prefix(Int(size)))
    }

    /// `[3, height, width]` floats -> `[height, width, 3]` bytes.
    private static func interleaved(_ image: RGBImage) -> [UInt8] {
        let area = image.width * image.height
        var bytes = [UInt8](repeating: 0, count: 3 * area)
        for channel in 0..<3 {
            for offset in 0..<area {
                // NaN > 0 is false, so that NaN becomes 0; its conversion to UInt8 would trap.
                let value = image.pixels[channel * area + offset]
                bytes[3 * offset + channel] = value > 0 ? UInt8((min(value, 1) * 255).rounded()) : 0
            }
        }
        return bytes
    }

    private static func failure(_ header: png_image, _ image: RGBImage) -> PNGError {
        let message = withUnsafeBytes(of: header.message) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
        return .encoding(width: image.width, height: image.height, message: message)
    }
}

extension PNGError: CategorizedError {
    public var category: ErrorCategory { .internalError }
}
