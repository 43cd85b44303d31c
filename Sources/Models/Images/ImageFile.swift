// SPDX-License-Identifier: Apache-2.0
// Reading PNG, JPEG and WebP files as upright RGB images, with the values of Pillow's
// `ImageOps.exif_transpose(Image.open(path)).convert("RGB")`. Docs/Formats.md lists the differences.

import Files

/// The formats of image files that are read.
public enum ImageFormat: String, Sendable {
    case png = "PNG"
    case jpeg = "JPEG"
    case webp = "WebP"

    fileprivate init?(_ kind: FileKind) {
        switch kind {
        case .png: self = .png
        case .jpeg: self = .jpeg
        case .webp: self = .webp
        default: return nil
        }
    }

    fileprivate var decoder: any ImageDecoder.Type {
        switch self {
        case .png: PNGDecoder.self
        case .jpeg: JPEGDecoder.self
        case .webp: WebPDecoder.self
        }
    }
}

/// Reads image files. The format is determined from the contents, independent of the name.
public enum ImageFile {
    /// The largest image that is read unless another limit is given: Pillow's `MAX_IMAGE_PIXELS`.
    public static let maximumPixels = 89_478_485

    /// Reads the image file at `path`.
    ///
    /// - Parameters:
    ///   - path: a PNG, JPEG or WebP file.
    ///   - maximumPixels: the limit for width times height, checked before memory is allocated.
    /// - Returns: the image, rotated and mirrored as EXIF's or XMP's orientation requires.
    /// - Throws: `ImageFileError`; `FileError` if the file cannot be read.
    public static func read(_ path: String, maximumPixels: Int = maximumPixels) throws -> RGBImage {
        let file = try MappedFile(path, expected: .image)
        return try withExtendedLifetime(file) { () throws(ImageFileError) in
            try decode(file.bytes, name: path, maximumPixels: maximumPixels)
        }
    }

    /// The image of a file in memory.
    ///
    /// - Parameters:
    ///   - bytes: the file's contents.
    ///   - name: the name in errors.
    ///   - maximumPixels: the limit for width times height, checked before memory is allocated.
    /// - Returns: the image, rotated and mirrored as EXIF's or XMP's orientation requires.
    /// - Throws: `ImageFileError`.
    public static func decode(
        _ bytes: [UInt8], name: String, maximumPixels: Int = maximumPixels
    ) throws(ImageFileError) -> RGBImage {
        try withBytes(of: bytes) { bytes throws(ImageFileError) in
            try decode(bytes, name: name, maximumPixels: maximumPixels)
        }
    }

    /// As `decode(_:name:maximumPixels:)` for a part of a mapped file.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, name: String, maximumPixels: Int = maximumPixels
    ) throws(ImageFileError) -> RGBImage {
        let (format, header) = try inspect(bytes, name: name)
        guard header.width * header.height <= maximumPixels else {
            throw .tooLarge(file: name, width: header.width, height: header.height, limit: maximumPixels)
        }
        var pixels = [UInt8](repeating: 0, count: 3 * header.width * header.height)
        do throws(ImageFault) {
            try format.decoder.decode(bytes, header, into: &pixels)
        } catch {
            throw ImageFileError(error, file: name, format: format)
        }
        return RGBImage(width: header.width, height: header.height, interleaved: pixels).oriented(header.orientation)
    }

    /// The size of the image in the file at `path`, in pixels, without decoding it.
    ///
    /// - Returns: width and height of the image that `read(_:maximumPixels:)` returns.
    /// - Throws: `ImageFileError`, but not for damaged pixels or large images; `FileError` if the file cannot be read.
    public static func size(_ path: String) throws -> (width: Int, height: Int) {
        let file = try MappedFile(path, expected: .image)
        return try withExtendedLifetime(file) { () throws(ImageFileError) in try size(of: file.bytes, name: path) }
    }

    /// The size of the image of a file in memory, in pixels, without decoding it.
    ///
    /// - Returns: width and height of the image that `decode(_:name:maximumPixels:)` returns.
    /// - Throws: `ImageFileError`, but not for damaged pixels or large images.
    public static func size(of bytes: [UInt8], name: String) throws(ImageFileError) -> (width: Int, height: Int) {
        try withBytes(of: bytes) { bytes throws(ImageFileError) in try size(of: bytes, name: name) }
    }

    /// As `size(of:name:)` for a part of a mapped file.
    package static func size(
        of bytes: UnsafeRawBufferPointer, name: String
    ) throws(ImageFileError) -> (width: Int, height: Int) {
        let header = try inspect(bytes, name: name).header
        return header.orientation.exchangesSides ? (header.height, header.width) : (header.width, header.height)
    }

    private static func inspect(
        _ bytes: UnsafeRawBufferPointer, name: String
    ) throws(ImageFileError) -> (format: ImageFormat, header: ImageHeader) {
        let kind = FileKind(head: Array(bytes.prefix(512)))
        guard let format = ImageFormat(kind) else { throw .notAnImage(file: name, found: kind) }
        do throws(ImageFault) {
            let header = try format.decoder.header(of: bytes)
            guard header.width > 0, header.height > 0 else {
                throw .damaged("invalid size \(header.width)x\(header.height)")
            }
            return (format, header)
        } catch {
            throw ImageFileError(error, file: name, format: format)
        }
    }

    /// `Array.withUnsafeBytes` with typed errors.
    private static func withBytes<Value>(
        of bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(ImageFileError) -> Value
    ) throws(ImageFileError) -> Value {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(ImageFileError) in try body(bytes) }
        }
        return try result.get()
    }
}
