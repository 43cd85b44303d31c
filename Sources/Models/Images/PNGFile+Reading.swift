// SPDX-License-Identifier: Apache-2.0
// Reading PNG files of all kinds as RGB, with the values of Pillow's `Image.open(path).convert("RGB")`: alpha is
// dropped, not blended; gamma and color profiles are ignored; of 16 bits the upper 8 count. One difference is intended:
// Pillow makes 16-bit gray images almost white, because it clips them at 255.

import CPNG
import Files

extension PNGFile {
    /// The largest image that is read unless another limit is given: Pillow's `MAX_IMAGE_PIXELS`.
    public static let maximumPixels = 89_478_485

    /// Reads the PNG file at `path`.
    ///
    /// - Throws: `PNGError.notPNG`, `.tooLarge`, `.damaged`; `FileError` if the file cannot be read.
    public static func read(_ path: String, maximumPixels: Int = PNGFile.maximumPixels) throws -> RGBImage {
        let file = try MappedFile(path, expected: .png)
        return try withExtendedLifetime(file) { () throws(PNGError) in
            try decode(file.bytes, file: path, maximumPixels: maximumPixels)
        }
    }

    /// The image of a PNG file in memory.
    ///
    /// - Parameters:
    ///   - bytes: the file's contents.
    ///   - file: the name in errors.
    ///   - maximumPixels: the limit for width times height, checked before memory is allocated.
    /// - Returns: the image as RGB.
    /// - Throws: `PNGError.notPNG`, `.tooLarge`, `.damaged`.
    public static func decode(
        _ bytes: [UInt8], file: String, maximumPixels: Int = PNGFile.maximumPixels
    ) throws(PNGError) -> RGBImage {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(PNGError) in try decode(bytes, file: file, maximumPixels: maximumPixels) }
        }
        return try result.get()
    }

    private static func decode(
        _ bytes: UnsafeRawBufferPointer, file: String, maximumPixels: Int
    ) throws(PNGError) -> RGBImage {
        let found = FileKind(head: Array(bytes.prefix(512)))
        guard found == .png else { throw .notPNG(file: file, found: found) }
        guard bytes.count >= 33, bytes[12..<16].elementsEqual("IHDR".utf8) else {
            throw .damaged(file: file, message: "the header is missing")
        }
        let width = bigEndian(bytes, at: 16), height = bigEndian(bytes, at: 20)
        guard width > 0, height > 0, width <= Int(Int32.max), height <= Int(Int32.max) else {
            throw .damaged(file: file, message: "invalid size \(width)x\(height)")
        }
        guard width * height <= maximumPixels else {
            throw .tooLarge(file: file, width: width, height: height, limit: maximumPixels)
        }
        var pixels = [UInt8](repeating: 0, count: 3 * width * height)
        var message = [CChar](repeating: 0, count: 160)
        let isComplete = bf_png_decode_rgb(
            bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count, png_uint_32(width), png_uint_32(height),
            &pixels, &message, message.count)
        guard isComplete != 0 else {
            let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw .damaged(file: file, message: text.isEmpty ? "not enough memory" : text)
        }
        return RGBImage(width: width, height: height, interleaved: pixels)
    }

    private static func bigEndian(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
        (0..<4).reduce(0) { $0 << 8 | Int(bytes[offset + $1]) }
    }
}
