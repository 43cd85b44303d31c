// SPDX-License-Identifier: Apache-2.0
// JPEG and WebP files and the orientations of all formats against Pillow; errors of files that are not read.

import Files
import Foundation
import TestKit
import Testing

@testable import Images

@Suite struct ImageFileTests {
    /// The bytes with the first `old` replaced by `new`.
    private func replacing(_ old: [UInt8], with new: [UInt8], in bytes: [UInt8]) throws -> [UInt8] {
        let range = try #require(bytes.firstRange(of: old))
        return Array(bytes[..<range.lowerBound]) + new + Array(bytes[range.upperBound...])
    }

    @Test("JPEG and WebP files and all orientations have Pillow's pixels and size", .tags(.golden))
    func parity() throws {
        let cases = try ImageFileCase.all()
        #expect(cases.count == 45)
        for item in cases {
            let image = try ImageFile.decode(item.bytes, name: item.name)
            #expect(image.width == item.width && image.height == item.height, "\(item.name)")
            #expect(image.interleaved == item.interleaved, "\(item.name)")
            let size = try ImageFile.size(of: item.bytes, name: item.name)
            #expect(size.width == item.width && size.height == item.height, "\(item.name)")
        }
    }

    @Test("a file is read by its contents, whatever its name")
    func reading() throws {
        let folder = try TemporaryFolder()
        let item = try ImageFileCase.named("JPEG, orientation 6")
        let path = try folder.write("image.png", item.bytes)
        #expect(try ImageFile.read(path).interleaved == item.interleaved)
        let size = try ImageFile.size(path)
        #expect(size.width == item.width && size.height == item.height)
    }

    @Test("a missing file and a folder are errors of the file")
    func missing() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.self) { try ImageFile.read(folder.file("none.jpg")) }
        #expect(throws: FileError.self) { try ImageFile.read(folder.path) }
        #expect(throws: FileError.self) { try ImageFile.size(folder.file("none.jpg")) }
    }

    @Test(
        "files of other kinds are named",
        arguments: [
            ("", .empty), ("GIF89a", .gif), ("II*\0", .tiff), ("\0\0\0\u{20}ftypavif", .heif),
            ("<!DOCTYPE html>", .html), ("hello", .text),
        ] as [(String, FileKind)])
    func otherKinds(content: String, kind: FileKind) {
        #expect(readingError(Array(content.utf8)) == .notAnImage(file: "image", found: kind))
    }

    @Test("every truncation of JPEG and WebP files is an error", arguments: [ImageFormat.jpeg, .webp])
    func truncated(format: ImageFormat) throws {
        for item in try ImageFileCase.all()
        where item.name.hasPrefix(format.rawValue) && item.name != "JPEG, bytes after the end" {
            let bytes = item.bytes
            for count in 12..<bytes.count {
                guard readingError(Array(bytes.prefix(count))) == .truncated(file: "image", format: format) else {
                    Issue.record("\(item.name): \(count) of \(bytes.count) bytes")
                    break
                }
            }
        }
    }

    @Test("the number of pixels is limited before memory is allocated")
    func limit() throws {
        for name in ["JPEG, 4:2:0", "PNG, orientation", "WebP, lossy", "WebP, animated"] {
            let bytes = try ImageFileCase.named(name).bytes
            let error = readingError(bytes, limit: 272)
            #expect(error == .tooLarge(file: "image", width: 21, height: 13, limit: 272), "\(name)")
            #expect(readingError(bytes, limit: 273) == nil, "\(name)")
        }
        let limit = ImageFile.maximumPixels
        let jpeg = try replacing(
            [0, 13, 0, 21], with: [0xFF, 0xFF, 0xFF, 0xFF], in: ImageFileCase.named("JPEG, 4:2:0").bytes)
        #expect(readingError(jpeg) == .tooLarge(file: "image", width: 65535, height: 65535, limit: limit))
        let sides: [UInt8] = [0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]
        let png = try replacing(
            [0, 0, 0, 21, 0, 0, 0, 13], with: sides, in: ImageFileCase.named("PNG, orientation").bytes)
        #expect(readingError(png) == .tooLarge(file: "image", width: 0x7FFF_FFFF, height: 0x7FFF_FFFF, limit: limit))
        let webP = try replacing(
            [26, 0, 0, 16, 0, 0], with: [0xFF, 0x3F, 0, 0xFF, 0x3F, 0],
            in: ImageFileCase.named("WebP, animated, first frame inside").bytes)
        #expect(readingError(webP) == .tooLarge(file: "image", width: 16384, height: 16384, limit: limit))
    }

    @Test("variants of JPEG that are not read are named")
    func unsupported() throws {
        let bytes = try ImageFileCase.named("JPEG, 4:4:4").bytes
        let header: [UInt8] = [0xFF, 0xC0, 0, 17, 8, 0, 13, 0, 21, 3]
        func feature(_ offset: Int, _ value: UInt8) throws -> String? {
            var changed = header
            changed[offset] = value
            let error = readingError(try replacing(header, with: changed, in: bytes))
            return if case .unsupported(_, .jpeg, let feature)? = error { feature } else { nil }
        }
        #expect(try feature(1, 0xC3) == "lossless or hierarchical coding")
        #expect(try feature(4, 12) == "12 bits per value")
        #expect(try feature(9, 2) == "2 channels")
    }

    @Test("damaged files are errors with the decoder's message")
    func damaged() throws {
        func message(_ bytes: [UInt8], _ format: ImageFormat) -> String? {
            guard case .damaged("image", format, let message)? = readingError(bytes) else { return nil }
            return message
        }
        let jpeg = try ImageFileCase.named("JPEG, 4:4:4").bytes
        let flat = try replacing([0, 13, 0, 21], with: [0, 0, 0, 21], in: jpeg)
        #expect(message(flat, .jpeg) == "invalid size 21x0")
        #expect(message(Array(jpeg[..<2]) + [0xFF, 0xDA], .jpeg) == "no frame header before the pixels")
        #expect(message(Array(jpeg[..<2]) + [0xFF, 0xE0, 0, 1], .jpeg) == "a segment of 1 bytes")
        #expect(message(Array(jpeg[..<2]) + [0xFF, 0xC0, 0, 3, 8], .jpeg) == "the frame header is too short")
        // Without the marker of its quantization tables, libjpeg has none.
        let one = try replacing([0xFF, 0xDB], with: [0xFF, 0xEF], in: jpeg)
        let both = try replacing([0xFF, 0xDB], with: [0xFF, 0xEF], in: one)
        #expect(message(both, .jpeg)?.hasPrefix("Quantization table") == true)

        let webP = try ImageFileCase.named("WebP, lossless").bytes
        #expect(message(Array(webP[..<20]) + [0] + Array(webP[21...]), .webp) == "its chunks are inconsistent")
        let garbage = Array(webP[..<25]) + webP[25...].map { _ in 0xFF }
        #expect(message(garbage, .webp) == "libwebp cannot decode its pixels")
    }

    @Test("the number of scans of a progressive JPEG is limited")
    func scans() throws {
        let bytes = try ImageFileCase.named("JPEG, gray, progressive").bytes
        let starts = bytes.indices.filter { bytes[$0...].starts(with: [0xFF, 0xDA]) }
        let last = bytes[try #require(starts.last)..<bytes.count - 2]
        func repeated(_ times: Int) -> [UInt8] {
            Array(bytes.dropLast(2)) + Array(repeatElement(last, count: times).joined()) + [0xFF, 0xD9]
        }
        #expect(readingError(repeated(400)) == nil)
        #expect(readingError(repeated(600)) == .damaged(file: "image", format: .jpeg, message: "more than 500 scans"))
    }

    @Test("an image with damaged EXIF is read as stored")
    func damagedEXIF() throws {
        let stored = try ImageFileCase.named("JPEG, orientation 1").interleaved
        let bytes = try ImageFileCase.named("JPEG, orientation 6").bytes
        let header: [UInt8] = [0x4D, 0x4D, 0, 42, 0, 0, 0, 8]
        // Another byte order, another number in place of 42, a directory after the end.
        for (offset, value) in [(0, 0x5A), (3, 43), (4, 0xFF)] as [(Int, UInt8)] {
            var changed = header
            changed[offset] = value
            let file = try replacing(header, with: changed, in: bytes)
            #expect(try ImageFile.decode(file, name: "image").interleaved == stored)
        }
    }
}
