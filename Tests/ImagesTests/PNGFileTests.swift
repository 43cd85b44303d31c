// SPDX-License-Identifier: Apache-2.0
// PNG bytes and files. The test decodes with libpng.

import CPNG
import Files
import Foundation
import TestKit
import Testing

@testable import Images

@Suite struct PNGFileTests {
    private let image = RGBImage(width: 5, height: 4, pixels: (0..<60).map { Float($0) / 59 })

    @Test("the file has the encoded bytes, replaces an existing file, and is the only file in its folder")
    func write() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("image.png", "old")
        try PNGFile.write(image, to: path)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(PNGFile.encode(image)))
        #expect(folder.names == ["image.png"])
    }

    @Test("a missing folder is an error that names the path")
    func missingFolder() {
        #expect {
            try PNGFile.write(image, to: "/nonexistent-folder/image.png")
        } throws: { error in
            guard case .cannotCreate(let path, _) = error as? FileError else { return false }
            return path == "/nonexistent-folder/image.png"
        }
    }

    @Test("PNG bytes decode to the clamped and rounded pixels")
    func roundTrip() throws {
        let image = RGBImage(
            width: 3, height: 2, pixels: (0..<18).map { Float($0) / 17 * 1.4 - 0.2 })
        let bytes = try PNGFile.encode(image)
        #expect(bytes.prefix(8) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])

        var header = png_image()
        header.version = png_uint_32(PNG_IMAGE_VERSION)
        #expect(png_image_begin_read_from_memory(&header, bytes, bytes.count) != 0)
        header.format = png_uint_32(PNG_FORMAT_RGB)
        #expect(header.width == 3 && header.height == 2)
        var decoded = [UInt8](repeating: 0, count: 18)
        #expect(png_image_finish_read(&header, nil, &decoded, 0, nil) != 0)
        for (offset, byte) in decoded.enumerated() {
            let value = image.pixels[offset % 3 * 6 + offset / 3]
            #expect(byte == UInt8((min(max(value, 0), 1) * 255).rounded()))
        }
    }

    @Test("NaN is written as 0")
    func notANumber() throws {
        let black = RGBImage(width: 2, height: 2, filledWith: .zero)
        let broken = RGBImage(width: 2, height: 2, filledWith: SIMD3(repeating: .nan))
        #expect(try PNGFile.encode(broken) == PNGFile.encode(black))
    }
}
