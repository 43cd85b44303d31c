// SPDX-License-Identifier: Apache-2.0
// Image grids and their labels.

import Testing

@testable import Images

@Suite struct ImageGridTests {
    private let red = RGBImage(width: 4, height: 4, filledWith: [1, 0, 0])
    private let blue = RGBImage(width: 4, height: 4, filledWith: [0, 0, 1])

    @Test("images are enlarged without interpolation and keep their order")
    func order() {
        let page = ImageGrid([red, blue, red], columns: 2, pixelScale: 3).render()
        // Margins of 16, 12 per image, 8 between images.
        #expect(page.width == 16 + 12 + 8 + 12 + 16 && page.height == page.width)
        #expect(page[16, 16] == [1, 0, 0] && page[27, 27] == [1, 0, 0] && page[28, 16] == [1, 1, 1])
        #expect(page[36, 16] == [0, 0, 1] && page[16, 36] == [1, 0, 0] && page[40, 40] == [1, 1, 1])
    }

    @Test("labels change the margins only")
    func labels() {
        let plain = ImageGrid(rows: [[red], [blue]], pixelScale: 10).render()
        let labeled = ImageGrid(
            rows: [[red], [blue]], rowLabels: ["teacher", "post-training 1.99"],
            columnLabels: ["a red circle"],
            pixelScale: 10
        ).render()
        // Labels move the images to the right and down; column labels end one padding above the images.
        let left = labeled.width - plain.width, top = labeled.height - plain.height
        #expect(left > 0 && top > 0)
        var ink = 0
        for row in 0..<labeled.height {
            for column in 0..<labeled.width {
                if column >= left && row >= top + 8 {
                    #expect(labeled[column, row] == plain[column - left, row - top])
                } else if labeled[column, row] != [1, 1, 1] {
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

    @Test("text wraps at spaces only")
    func wrapping() {
        #expect(
            BitmapFont.wrap("a red circle left of a blue square", width: 12 * 6) == [
                "a red circle", "left of a", "blue square",
            ])
        #expect(BitmapFont.wrap("post-training", width: 12) == ["post-training"])
        #expect(BitmapFont.wrap("", width: 12).isEmpty)
    }

    @Test("printable characters other than the space have different glyphs")
    func glyphs() {
        var seen: Set<[Float]> = []
        for code in UInt8(33)...126 {
            var image = RGBImage(width: 5, height: 9, filledWith: [1, 1, 1])
            BitmapFont.draw(String(UnicodeScalar(code)), x: 0, y: 0, scale: 1, color: .zero, into: &image)
            #expect(image.pixels.contains(0))
            #expect(seen.insert(image.pixels).inserted, "\(UnicodeScalar(code))")
        }
    }
}
