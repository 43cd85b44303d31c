// SPDX-License-Identifier: Apache-2.0
// A grid of labeled images, enlarged without interpolation, to compare models (rows) on the same prompts (columns).

/// Images in rows and columns with labels.
public struct ImageGrid: Sendable {
    /// The images by row. Rows can differ in length, and images in size.
    public let rows: [[RGBImage]]
    /// Labels to the left of the rows, from the top; missing ones are empty. Long labels wrap.
    public var rowLabels: [String]
    /// Labels above the columns, from the left; missing ones are empty. They wrap at the width of the column.
    public var columnLabels: [String]
    /// Each image pixel becomes a square with sides of this many pixels, >= 1.
    public var pixelScale: Int
    /// Pixels between images. The margin is twice as wide.
    public var padding = 8

    private static let background = SIMD3<Float>(repeating: 1)
    private static let ink = SIMD3<Float>(0.13, 0.14, 0.17)
    /// Row labels wrap at this width, in font pixels.
    private static let rowLabelLimit = 13 * BitmapFont.advance

    /// A grid of `rows`.
    public init(
        rows: [[RGBImage]], rowLabels: [String] = [], columnLabels: [String] = [], pixelScale: Int = 5
    ) {
        precondition(pixelScale >= 1, "ImageGrid: pixelScale \(pixelScale) is below 1")
        self.rows = rows
        self.rowLabels = rowLabels
        self.columnLabels = columnLabels
        self.pixelScale = pixelScale
    }

    /// A grid of `images` in reading order, with `columns` images per row.
    public init(_ images: [RGBImage], columns: Int, pixelScale: Int = 5) {
        precondition(columns >= 1, "ImageGrid: \(columns) columns")
        let rows = stride(from: 0, to: images.count, by: columns).map {
            Array(images[$0..<min($0 + columns, images.count)])
        }
        self.init(rows: rows, pixelScale: pixelScale)
    }

    /// Draws the grid on a white page.
    public func render() -> RGBImage {
        let layout = Layout(self)
        var page = RGBImage(width: layout.width, height: layout.height, filledWith: Self.background)
        for (column, lines) in layout.columnLines.enumerated() {
            let height = BitmapFont.height(lines: lines.count) * layout.textScale
            draw(
                lines, top: layout.firstRow - padding - height, in: layout.columnSpans[column], .center,
                layout, &page)
        }
        for (row, lines) in layout.rowLines.enumerated() {
            let span = layout.rowSpans[row]
            let height = BitmapFont.height(lines: lines.count) * layout.textScale
            let labels = 2 * padding..<max(layout.firstColumn - 2 * padding, 2 * padding)
            draw(
                lines, top: span.lowerBound + (span.count - height) / 2, in: labels, .trailing, layout, &page)
        }
        for (row, images) in rows.enumerated() {
            for (column, image) in images.enumerated() {
                paste(
                    image, x: layout.columnSpans[column].lowerBound, y: layout.rowSpans[row].lowerBound, &page
                )
            }
        }
        return page
    }

    private enum Alignment { case center, trailing }

    private func draw(
        _ lines: [String], top: Int, in span: Range<Int>, _ alignment: Alignment, _ layout: Layout,
        _ page: inout RGBImage
    ) {
        for (number, line) in lines.enumerated() {
            let space = span.count - BitmapFont.width(of: line) * layout.textScale
            let x = span.lowerBound + (alignment == .center ? space / 2 : space)
            let y = top + number * BitmapFont.lineHeight * layout.textScale
            BitmapFont.draw(line, x: x, y: y, scale: layout.textScale, color: Self.ink, into: &page)
        }
    }

    private func paste(_ image: RGBImage, x: Int, y: Int, _ page: inout RGBImage) {
        for row in 0..<image.height * pixelScale {
            for column in 0..<image.width * pixelScale {
                page[x + column, y + row] = image[column / pixelScale, row / pixelScale]
            }
        }
    }

    /// The positions of images and labels, in pixels of the page.
    private struct Layout {
        let textScale: Int
        let columnSpans: [Range<Int>], rowSpans: [Range<Int>]
        let columnLines: [[String]], rowLines: [[String]]
        let firstColumn: Int, firstRow: Int
        let width: Int, height: Int

        init(_ grid: ImageGrid) {
            let scale = grid.pixelScale, padding = grid.padding
            let columns = grid.rows.map(\.count).max() ?? 0
            let widths = (0..<columns).map { column in
                (grid.rows.compactMap { $0.count > column ? $0[column].width : nil }.max() ?? 0) * scale
            }
            let heights = grid.rows.map { ($0.map(\.height).max() ?? 0) * scale }
            // The text size follows the image size: about 13 characters fit above a 32-pixel image.
            let textScale = max((widths.max() ?? 0) / 80, 1)
            self.textScale = textScale

            rowLines = grid.rowLabels.prefix(heights.count).map {
                BitmapFont.wrap($0, width: ImageGrid.rowLabelLimit)
            }
            let labelWidth = rowLines.joined().map(BitmapFont.width).max() ?? 0
            firstColumn = 2 * padding + (labelWidth > 0 ? labelWidth * textScale + 2 * padding : 0)

            columnLines = zip(grid.columnLabels, widths).map { label, width in
                BitmapFont.wrap(label, width: (width + padding / 2) / textScale)
            }
            let labelHeight = BitmapFont.height(lines: columnLines.map(\.count).max() ?? 0) * textScale
            firstRow = 2 * padding + (labelHeight > 0 ? labelHeight + padding : 0)

            columnSpans = Self.spans(widths, from: firstColumn, padding: padding)
            rowSpans = Self.spans(heights, from: firstRow, padding: padding)
            width = (columnSpans.last?.upperBound ?? firstColumn) + 2 * padding
            height = (rowSpans.last?.upperBound ?? firstRow) + 2 * padding
        }

        private static func spans(_ lengths: [Int], from first: Int, padding: Int) -> [Range<Int>] {
            var next = first
            return lengths.map { length in
                defer { next += length + padding }
                return next..<next + length
            }
        }
    }
}
