// SPDX-License-Identifier: Apache-2.0
//
// Grids, labels and PNG bytes. Decoding is left to libpng, so that encoder and test do not share a mistake.

import CPNG
import Checkpoints
import Testing

@testable import Images
@testable import ShapesWorld

@Suite struct ImageGridTests {
    private let red = RGBImage(width: 4, height: 4, filledWith: [1, 0, 0])
    private let blue = RGBImage(width: 4, height: 4, filledWith: [0, 0, 1])

    @Test("images are enlarged by whole pixels and keep their order")
    func order() {
        let page = ImageGrid([red, blue, red], columns: 2, pixelScale: 3).render()
        // Twice the padding of 8 around, 12 pixels an image, 8 between.
        #expect(page.width == 16 + 12 + 8 + 12 + 16 && page.height == page.width)
        #expect(page[16, 16] == [1, 0, 0] && page[27, 27] == [1, 0, 0] && page[28, 16] == [1, 1, 1])
        #expect(page[36, 16] == [0, 0, 1] && page[16, 36] == [1, 0, 0] && page[40, 40] == [1, 1, 1])
    }

    @Test("labels leave their mark in the margins and nowhere else")
    func labels() {
        let plain = ImageGrid(rows: [[red], [blue]], pixelScale: 10).render()
        let labelled = ImageGrid(
            rows: [[red], [blue]], rowLabels: ["teacher", "post-training 1.99"],
            columnLabels: ["a red circle"],
            pixelScale: 10
        ).render()
        // The labels push the images right and down; column labels end one padding above them.
        let left = labelled.width - plain.width, top = labelled.height - plain.height
        #expect(left > 0 && top > 0)
        var ink = 0
        for row in 0..<labelled.height {
            for column in 0..<labelled.width {
                if column >= left && row >= top + 8 {
                    #expect(labelled[column, row] == plain[column - left, row - top])
                } else if labelled[column, row] != [1, 1, 1] {
                    ink += 1
                }
            }
        }
        #expect(ink > 200)
    }

    @Test("an empty grid is an empty page")
    func empty() {
        let page = ImageGrid(rows: []).render()
        #expect(page.width == 32 && page.pixels.allSatisfy { $0 == 1 })
    }

    @Test("text wraps at spaces, and only there")
    func wrapping() {
        #expect(
            BitmapFont.wrap("a red circle left of a blue square", width: 12 * 6) == [
                "a red circle", "left of a", "blue square",
            ])
        #expect(BitmapFont.wrap("post-training", width: 12) == ["post-training"])
        #expect(BitmapFont.wrap("", width: 12).isEmpty)
    }

    @Test("every printable character but the space has its own glyph")
    func glyphs() {
        var seen: Set<[Float]> = []
        for code in UInt8(33)...126 {
            var image = RGBImage(width: 5, height: 9, filledWith: [1, 1, 1])
            BitmapFont.draw(String(UnicodeScalar(code)), x: 0, y: 0, scale: 1, color: .zero, into: &image)
            #expect(image.pixels.contains(0))
            #expect(seen.insert(image.pixels).inserted, "\(UnicodeScalar(code))")
        }
    }

    @Test("PNG bytes decode to the rounded pixels")
    func roundTrip() throws {
        let image = RGBImage(
            width: 3, height: 2, pixels: (0..<18).map { Float($0) / 17 * 1.4 - 0.2 })
        let bytes = try PNGEncoder.encode(image)
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

    @Test("pixels that are not numbers are written as black")
    func notANumber() throws {
        let black = RGBImage(width: 2, height: 2, filledWith: .zero)
        let broken = RGBImage(width: 2, height: 2, filledWith: SIMD3(repeating: .nan))
        #expect(try PNGEncoder.encode(broken) == PNGEncoder.encode(black))
    }
}
