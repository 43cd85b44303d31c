// SPDX-License-Identifier: Apache-2.0
// Detects the objects of an image. Background: the median of the border. Objects: 4-connected regions that differ from
// it. Color: the nearest palette entry. Kind: the best fitting outline. H rows, W columns, row-major.

import BitsFusion

extension SceneEvaluator {
    /// Pixels with at least this share of a region's highest contrast form its core, whose mean is the region's color.
    private static let coreShare: Float = 0.75
    /// Empty pixels around a region's bounding box in its mask, so that outlines that are too large score lower.
    private static let maskMargin = 2

    /// The objects of `image`, in raster order of their topmost pixel.
    ///
    /// - Parameter image: values in 0...1, any size. NaN pixels count as background.
    /// - Returns: the regions of at least `minimumPixels` pixels, with kind, color and geometry.
    public func detect(_ image: RGBImage) -> [DetectedObject] {
        let background = Self.background(of: image)
        let contrasts = Self.contrasts(image, background)
        let components = ConnectedComponents(
            mask: contrasts.map { $0 > contrast }, width: image.width, height: image.height)
        return components.regions.indices.compactMap { number in
            guard components.regions[number].count >= minimumPixels else { return nil }
            return measure(number, components, image, background, contrasts)
        }
    }

    private func measure(
        _ number: Int, _ components: ConnectedComponents, _ image: RGBImage, _ background: SIMD3<Float>,
        _ contrasts: [Float]
    ) -> DetectedObject {
        let region = components.regions[number]
        let rgb = Self.coreColor(region, image, contrasts)
        let mask = Self.mask(number, components, image, background, rgb)
        let match = TemplateMatcher.bestMatch(mask)
        let nearest = ShapeColor.nearest(to: rgb)
        return DetectedObject(
            kind: match.overlap >= minimumOverlap ? match.kind : nil,
            color: nearest.distance <= maximumColorDistance ? nearest.color : nil,
            rgb: rgb, center: mask.centroid, area: mask.area, overlap: match.overlap)
    }

    /// The median of the border pixels, channel by channel.
    private static func background(of image: RGBImage) -> SIMD3<Float> {
        let width = image.width, height = image.height
        var border = (0..<width).flatMap { [image[$0, 0], image[$0, height - 1]] }
        border += (1..<max(height - 1, 1)).flatMap { [image[0, $0], image[width - 1, $0]] }
        var median = SIMD3<Float>.zero
        for channel in 0..<3 {
            let values = border.map { $0[channel] }.filter { !$0.isNaN }.sorted()
            median[channel] = values.isEmpty ? 0 : values[values.count / 2]
        }
        return median
    }

    /// Per pixel, the largest difference of a channel from the background.
    private static func contrasts(_ image: RGBImage, _ background: SIMD3<Float>) -> [Float] {
        let area = image.width * image.height
        var contrasts = [Float](repeating: 0, count: area)
        for channel in 0..<3 {
            for offset in 0..<area {
                let difference = abs(image.pixels[channel * area + offset] - background[channel])
                // NaN replaces the other channels' contrast, and no threshold is below it.
                if !(difference <= contrasts[offset]) { contrasts[offset] = difference }
            }
        }
        return contrasts
    }

    /// The mean color of a region's core, without edge pixels, which are blended with the background.
    private static func coreColor(_ region: [Int], _ image: RGBImage, _ contrasts: [Float]) -> SIMD3<Float> {
        let peak = region.reduce(0) { max($0, contrasts[$1]) }
        var sum = SIMD3<Float>.zero
        var count: Float = 0
        for offset in region where contrasts[offset] >= coreShare * peak {
            sum += image[offset % image.width, offset / image.width]
            count += 1
        }
        return sum / count
    }

    /// The coverage of region `number`: each pixel of the region and of the ring around it, projected on the line from
    /// the background to the region's color.
    private static func mask(
        _ number: Int, _ components: ConnectedComponents, _ image: RGBImage, _ background: SIMD3<Float>,
        _ rgb: SIMD3<Float>
    ) -> SoftMask {
        let region = components.regions[number]
        let width = image.width, height = image.height
        let columns = region.map { $0 % width }, rows = region.map { $0 / width }
        let left = (columns.min() ?? 0) - maskMargin, right = (columns.max() ?? 0) + maskMargin
        let top = (rows.min() ?? 0) - maskMargin, bottom = (rows.max() ?? 0) + maskMargin
        var mask = SoftMask(
            left: left, top: top, width: right - left + 1, height: bottom - top + 1, values: [])
        mask.values = Array(repeating: 0, count: mask.width * mask.height)
        let direction = (rgb - background) / ((rgb - background) * (rgb - background)).sum()
        for offset in region {
            let centerColumn = offset % width, centerRow = offset / width
            for row in max(centerRow - 1, 0)...min(centerRow + 1, height - 1) {
                for column in max(centerColumn - 1, 0)...min(centerColumn + 1, width - 1) {
                    let label = components.labels[row * width + column]
                    guard label < 0 || Int(label) == number else { continue }
                    let share = ((image[column, row] - background) * direction).sum()
                    mask.values[(row - top) * mask.width + column - left] = share > 0 ? min(share, 1) : 0
                }
            }
        }
        return mask
    }
}

/// The regions of a binary image.
struct ConnectedComponents {
    /// Per pixel: the region's number from 0, or -1 for pixels outside the mask.
    let labels: [Int32]
    /// Per region: the offsets of its pixels, in the order of discovery. Regions are in raster order.
    let regions: [[Int]]

    /// Finds the regions of `mask`, [height * width].
    ///
    /// - Complexity: O(pixels).
    init(mask: [Bool], width: Int, height: Int) {
        precondition(
            mask.count == width * height, "ConnectedComponents: \(mask.count) values for \(width)x\(height)")
        var labels = [Int32](repeating: -1, count: mask.count)
        var regions: [[Int]] = []
        for start in mask.indices where mask[start] && labels[start] < 0 {
            let label = Int32(regions.count)
            var region = [start]
            labels[start] = label
            var visited = 0
            while visited < region.count {
                let offset = region[visited]
                visited += 1
                let column = offset % width
                func visit(_ neighbor: Int) {
                    guard mask[neighbor], labels[neighbor] < 0 else { return }
                    labels[neighbor] = label
                    region.append(neighbor)
                }
                if column > 0 { visit(offset - 1) }
                if column + 1 < width { visit(offset + 1) }
                if offset >= width { visit(offset - width) }
                if offset + width < mask.count { visit(offset + width) }
            }
            regions.append(region)
        }
        self.labels = labels
        self.regions = regions
    }
}
