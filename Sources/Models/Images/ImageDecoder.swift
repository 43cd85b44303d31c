// SPDX-License-Identifier: Apache-2.0
// What the decoders of the formats have in common, and safe access to the bytes of files.

/// What the header of an image file says.
struct ImageHeader {
    /// The size as stored, before the orientation is applied.
    let width, height: Int
    let orientation: ImageOrientation
}

/// The decoder of a format, for files whose first bytes are those of the format.
protocol ImageDecoder {
    /// Reads the size, at most 2^31 - 1 on each side, and the orientation.
    static func header(of bytes: UnsafeRawBufferPointer) throws(ImageFault) -> ImageHeader
    /// Decodes to `pixels`, `[header.height, header.width, 3]`, all 0 before the call.
    static func decode(
        _ bytes: UnsafeRawBufferPointer, _ header: ImageHeader, into pixels: inout [UInt8]
    ) throws(ImageFault)
}

extension ImageDecoder {
    /// Calls a decoder in C, which returns 0, 1 if the bytes end too early, or 2 if they are damaged, with a text in a
    /// buffer of the given size.
    static func run(_ decode: (UnsafeMutablePointer<CChar>, Int) -> Int32) throws(ImageFault) {
        var message = [CChar](repeating: 0, count: 160)
        switch decode(&message, message.count) {
        case 0: return
        case 1: throw .truncated
        default:
            let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw .damaged(text.isEmpty ? "not enough memory" : text)
        }
    }
}

extension UnsafeRawBufferPointer {
    /// `count` bytes from `offset` on; nil if not all of them exist.
    func part(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer? {
        guard offset >= 0, count >= 0, offset <= self.count, count <= self.count - offset else { return nil }
        return UnsafeRawBufferPointer(rebasing: self[offset..<offset + count])
    }

    /// The bytes after `prefix`; nil if they start with others.
    func dropping(_ prefix: String) -> UnsafeRawBufferPointer? {
        starts(with: prefix.utf8) ? part(prefix.utf8.count, count - prefix.utf8.count) : nil
    }

    /// An unsigned number of `count` bytes, at most 4; nil if they do not exist.
    func bigEndian(_ offset: Int, _ count: Int) -> Int? {
        part(offset, count)?.reduce(0) { $0 << 8 | Int($1) }
    }

    /// An unsigned number of `count` bytes, at most 4; nil if they do not exist.
    func littleEndian(_ offset: Int, _ count: Int) -> Int? {
        part(offset, count)?.reversed().reduce(0) { $0 << 8 | Int($1) }
    }
}
