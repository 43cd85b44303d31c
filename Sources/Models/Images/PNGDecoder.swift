// SPDX-License-Identifier: Apache-2.0
// Reading PNG files of all kinds as RGB, with the values of Pillow's `Image.open(path).convert("RGB")`: alpha is
// dropped, not blended; gamma and color profiles are ignored; of 16 bits the upper 8 count. One difference is intended:
// Pillow makes 16-bit gray images almost white, because it clips them at 255.

import CPNG

enum PNGDecoder: ImageDecoder {
    static func header(of bytes: UnsafeRawBufferPointer) throws(ImageFault) -> ImageHeader {
        guard let width = bytes.bigEndian(16, 4), let height = bytes.bigEndian(20, 4) else { throw .truncated }
        guard bytes[12..<16].elementsEqual("IHDR".utf8) else { throw .damaged("the header is missing") }
        guard width <= Int(Int32.max), height <= Int(Int32.max) else {
            throw .damaged("invalid size \(width)x\(height)")
        }
        return ImageHeader(width: width, height: height, orientation: orientation(bytes))
    }

    /// The orientation from the chunks eXIf and iTXt with XMP that is not compressed, which may also come after the
    /// pixels.
    private static func orientation(_ bytes: UnsafeRawBufferPointer) -> ImageOrientation {
        var exif, xmp: UnsafeRawBufferPointer?
        eachChunk(bytes) { type, content in
            guard let content else { return false }
            if type.elementsEqual("eXIf".utf8) { exif = content }
            // The keyword is followed by the flag and the method of compression.
            if type.elementsEqual("iTXt".utf8), let text = content.dropping("XML:com.adobe.xmp\0\0") { xmp = text }
            return true
        }
        return ImageOrientation(exif: exif, xmp: xmp)
    }

    /// Calls `body` with type and content of each chunk until it returns false; the content is nil where the bytes end
    /// before the chunk.
    private static func eachChunk(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) -> Bool
    ) {
        // After the signature.
        var offset = 8
        while let count = bytes.bigEndian(offset, 4), let type = bytes.part(offset + 4, 4),
            body(type, bytes.part(offset + 8, count))
        {
            offset += 12 + count
        }
    }

    static func decode(
        _ bytes: UnsafeRawBufferPointer, _ header: ImageHeader, into pixels: inout [UInt8]
    ) throws(ImageFault) {
        // libpng allocates a chunk before the pixels as a whole, as long as it claims to be.
        var isComplete = true
        eachChunk(bytes) { type, content in
            guard !type.elementsEqual("IDAT".utf8) else { return false }
            isComplete = content != nil
            return isComplete
        }
        guard isComplete else { throw .truncated }
        try run { message, capacity in
            bf_png_decode_rgb(
                bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count, png_uint_32(header.width),
                png_uint_32(header.height), &pixels, message, capacity)
        }
    }
}
