// SPDX-License-Identifier: Apache-2.0
// Reading JPEG files as RGB, with the values of Pillow's `Image.open(path).convert("RGB")`: gray, YCbCr, RGB, CMYK and
// YCCK, baseline and progressive. CMYK is taken as inverted, as Adobe's programs store it; color profiles are ignored.
// Errors in the entropy-coded data that libjpeg only warns of are ignored as Pillow ignores them.

import CJPEG

enum JPEGDecoder: ImageDecoder {
    static func header(of bytes: UnsafeRawBufferPointer) throws(ImageFault) -> ImageHeader {
        var size: (width: Int, height: Int)?
        var exif, xmp: UnsafeRawBufferPointer?
        var offset = 2
        while true {
            // Like libjpeg, skips what is not a marker, and fill bytes.
            while let byte = bytes.bigEndian(offset, 1), byte != 0xFF { offset += 1 }
            while bytes.bigEndian(offset, 1) == 0xFF { offset += 1 }
            guard let marker = bytes.bigEndian(offset, 1) else { throw .truncated }
            offset += 1
            switch marker {
            case 0x00, 0x01, 0xD0...0xD8: continue
            case 0xD9, 0xDA:
                guard let size else { throw .damaged("no frame header before the pixels") }
                return ImageHeader(
                    width: size.width, height: size.height, orientation: ImageOrientation(exif: exif, xmp: xmp))
            default: break
            }
            guard let count = bytes.bigEndian(offset, 2) else { throw .truncated }
            guard count >= 2 else { throw .damaged("a segment of \(count) bytes") }
            guard let segment = bytes.part(offset + 2, count - 2) else { throw .truncated }
            offset += count
            switch marker {
            case 0xC4, 0xC8, 0xCC: break
            case 0xC0...0xCF: size = try self.size(marker, segment)
            case 0xE1:
                if exif == nil, segment.dropping("Exif\0\0") != nil { exif = segment }
                xmp = segment.dropping("http://ns.adobe.com/xap/1.0/\0") ?? xmp
            default: break
            }
        }
    }

    /// The size in a frame header, if the frame is of a kind that is read.
    private static func size(
        _ marker: Int, _ segment: UnsafeRawBufferPointer
    ) throws(ImageFault) -> (width: Int, height: Int) {
        guard let precision = segment.bigEndian(0, 1), let height = segment.bigEndian(1, 2),
            let width = segment.bigEndian(3, 2), let components = segment.bigEndian(5, 1)
        else { throw .damaged("the frame header is too short") }
        guard [0xC0, 0xC1, 0xC2, 0xC9, 0xCA].contains(marker) else {
            throw .unsupported("lossless or hierarchical coding")
        }
        guard precision == 8 else { throw .unsupported("\(precision) bits per value") }
        guard [1, 3, 4].contains(components) else { throw .unsupported("\(components) channels") }
        return (width, height)
    }

    static func decode(
        _ bytes: UnsafeRawBufferPointer, _ header: ImageHeader, into pixels: inout [UInt8]
    ) throws(ImageFault) {
        try run { message, capacity in
            bf_jpeg_decode_rgb(
                bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count, JDIMENSION(header.width),
                JDIMENSION(header.height), &pixels, message, capacity)
        }
    }
}
