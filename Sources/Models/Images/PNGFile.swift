// SPDX-License-Identifier: Apache-2.0
// Writing PNG files: 8-bit RGB without alpha, encoded with libpng's simplified interface, and chunks of text.

import CPNG
import Files

/// Encodes images as PNG and writes them to files.
public enum PNGFile {
    /// Writes `image` to the file at `path`, which is created or replaced as a whole.
    ///
    /// - Parameters:
    ///   - image: the pixels.
    ///   - path: the file.
    ///   - text: keywords and texts to store, such as `parameters` for the settings of a generated image.
    /// - Throws: `PNGError.encoding`; the errors of `AtomicFile.write`, after which an existing file is unchanged.
    public static func write(
        _ image: RGBImage, to path: String, text: [(keyword: String, text: String)] = []
    ) throws {
        try AtomicFile.write(encode(image, text: text), to: path)
    }

    /// The bytes of a PNG file with chunks of text. A text in Latin-1 becomes a `tEXt` chunk, another one an `iTXt`
    /// chunk in UTF-8, as Pillow's `PngInfo.add_text` does it.
    ///
    /// NUL in a text, which PNG does not allow, becomes a space.
    ///
    /// - Precondition: keywords have 1 to 79 characters in Latin-1 without NUL.
    /// - Throws: as `encode(_:)`.
    public static func encode(
        _ image: RGBImage, text: [(keyword: String, text: String)]
    ) throws(PNGError) -> [UInt8] {
        var bytes = try encode(image)
        // After the signature and the header chunk, which is always the first one.
        bytes.insert(contentsOf: text.flatMap { textChunk($0.keyword, $0.text) }, at: 8 + 25)
        return bytes
    }

    private static func textChunk(_ keyword: String, _ text: String) -> [UInt8] {
        let latinKeyword = latin1(keyword) ?? []
        precondition(
            (1...79).contains(latinKeyword.count) && !latinKeyword.contains(0),
            "PNGFile: keyword \"\(keyword)\": expected 1 to 79 characters in Latin-1")
        let text = text.replacing("\0", with: " ")
        var content = latinKeyword + [0]
        if let latinText = latin1(text) {
            content += latinText
        } else {
            // Neither compressed nor marked with a language, without a translated keyword.
            content += [0, 0, 0, 0] + Array(text.utf8)
        }
        let type = latin1(text) == nil ? "iTXt" : "tEXt"
        let checked = Array(type.utf8) + content
        return bigEndian(UInt32(content.count)) + checked + bigEndian(CRC32.checksum(of: checked))
    }

    private static func latin1(_ text: String) -> [UInt8]? {
        let bytes = text.unicodeScalars.compactMap { UInt8(exactly: $0.value) }
        return bytes.count == text.unicodeScalars.count ? bytes : nil
    }

    private static func bigEndian(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    /// The bytes of a PNG file. Values are clamped to 0...1 and rounded to 0...255; NaN becomes 0.
    ///
    /// - Throws: `PNGError.encoding` if libpng fails, for example for lack of memory.
    public static func encode(_ image: RGBImage) throws(PNGError) -> [UInt8] {
        let rows = image.interleaved
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

    private static func failure(_ header: png_image, _ image: RGBImage) -> PNGError {
        let message = withUnsafeBytes(of: header.message) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
        return .encoding(width: image.width, height: image.height, message: message)
    }
}
