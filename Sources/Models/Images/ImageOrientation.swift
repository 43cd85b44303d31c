// SPDX-License-Identifier: Apache-2.0
// The orientation in which a camera stored an image: EXIF's tag, or else that of XMP, as Pillow's `Image.getexif` finds
// it for `ImageOps.exif_transpose`. What is damaged or out of range counts as upright.

/// How the stored pixels become upright; the values are those of EXIF's tag.
enum ImageOrientation: Int {
    case upright = 1
    /// Left and right are exchanged.
    case mirrored
    case rotated180
    /// Top and bottom are exchanged.
    case flipped
    /// Rows are stored as columns.
    case transposed
    /// The stored image is to be rotated clockwise.
    case rotated90
    case transverse
    /// The stored image is to be rotated counterclockwise.
    case rotated270

    /// Whether width and height of the upright image are height and width of the stored one.
    var exchangesSides: Bool { rawValue >= Self.transposed.rawValue }

    /// The orientation from a block of EXIF and one of XMP.
    init(exif: UnsafeRawBufferPointer?, xmp: UnsafeRawBufferPointer?) {
        let value = exif.flatMap(Self.value(inEXIF:)) ?? xmp.flatMap(Self.value(inXMP:))
        self = value.flatMap(Self.init) ?? .upright
    }

    /// The tag 0x0112 in the first directory of a TIFF header, which "Exif" may precede.
    private static func value(inEXIF block: UnsafeRawBufferPointer) -> Int? {
        var tiff = block
        for _ in 0..<2 { tiff = tiff.dropping("Exif\0\0") ?? tiff }
        let isBigEndian = tiff.starts(with: "MM".utf8)
        guard isBigEndian || tiff.starts(with: "II".utf8) else { return nil }
        func number(_ offset: Int, _ count: Int) -> Int? {
            isBigEndian ? tiff.bigEndian(offset, count) : tiff.littleEndian(offset, count)
        }
        guard number(2, 2) == 42, let directory = number(4, 4), let count = number(directory, 2) else { return nil }
        for entry in 0..<count {
            let offset = directory + 2 + 12 * entry
            guard let tag = number(offset, 2), let type = number(offset + 2, 2), let values = number(offset + 4, 4)
            else { return nil }
            // One value of 16 or of 32 bits.
            if tag == 0x0112, values == 1, type == 3 || type == 4 { return number(offset + 8, type == 3 ? 2 : 4) }
        }
        return nil
    }

    /// The digit after tiff:Orientation, which is an attribute or an element.
    private static func value(inXMP text: UnsafeRawBufferPointer) -> Int? {
        for name in text.ranges(of: Array("tiff:Orientation".utf8)) {
            let rest = UnsafeRawBufferPointer(rebasing: text[name.upperBound...])
            let digit = (rest.dropping("=\"") ?? rest.dropping(">"))?.first
            if let digit, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) { return Int(digit & 15) }
        }
        return nil
    }
}
