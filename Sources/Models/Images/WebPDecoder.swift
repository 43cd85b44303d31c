// SPDX-License-Identifier: Apache-2.0
// Reading WebP files as RGB, with the values of Pillow's `Image.open(path).convert("RGB")`: lossy and lossless, alpha
// dropped, of animations the first frame, black where it does not cover the canvas.

import CWebP

enum WebPDecoder: ImageDecoder {
    static func header(of bytes: UnsafeRawBufferPointer) throws(ImageFault) -> ImageHeader {
        let file = try demuxer(bytes)
        defer { WebPDemuxDelete(file) }
        return ImageHeader(
            width: Int(WebPDemuxGetI(file, WEBP_FF_CANVAS_WIDTH)),
            height: Int(WebPDemuxGetI(file, WEBP_FF_CANVAS_HEIGHT)),
            orientation: ImageOrientation(exif: chunk("EXIF", of: file), xmp: chunk("XMP ", of: file)))
    }

    /// The chunks of the file, which refer to `bytes` and are to be deleted by the caller.
    private static func demuxer(_ bytes: UnsafeRawBufferPointer) throws(ImageFault) -> OpaquePointer {
        guard let count = bytes.littleEndian(4, 4), count <= bytes.count - 8 else { throw .truncated }
        var data = WebPData(bytes: bytes.bindMemory(to: UInt8.self).baseAddress, size: bytes.count)
        guard let file = WebPDemux(&data) else { throw .damaged("its chunks are inconsistent") }
        return file
    }

    private static func chunk(_ name: String, of file: OpaquePointer) -> UnsafeRawBufferPointer? {
        var iterator = WebPChunkIterator()
        guard WebPDemuxGetChunk(file, name, 1, &iterator) != 0 else { return nil }
        defer { WebPDemuxReleaseChunkIterator(&iterator) }
        return UnsafeRawBufferPointer(start: iterator.chunk.bytes, count: iterator.chunk.size)
    }

    static func decode(
        _ bytes: UnsafeRawBufferPointer, _ header: ImageHeader, into pixels: inout [UInt8]
    ) throws(ImageFault) {
        let file = try demuxer(bytes)
        defer { WebPDemuxDelete(file) }
        var frame = WebPIterator()
        guard WebPDemuxGetFrame(file, 1, &frame) != 0 else { throw .damaged("no frame") }
        defer { WebPDemuxReleaseIterator(&frame) }
        let stride = 3 * header.width, start = Int(frame.y_offset) * stride + 3 * Int(frame.x_offset)
        guard start < pixels.count else { throw .damaged("the frame is outside the canvas") }
        // libwebp checks that the frame fits into the bytes that remain.
        let end = pixels[start...].withUnsafeMutableBufferPointer { target in
            WebPDecodeRGBInto(
                frame.fragment.bytes, frame.fragment.size, target.baseAddress, target.count, Int32(stride))
        }
        guard end != nil else { throw .damaged("libwebp cannot decode its pixels") }
    }
}
