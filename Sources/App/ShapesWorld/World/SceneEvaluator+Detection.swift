// SPDX-License-Identifier: Apache-2.0
//
// Finds the objects of an image: background = median of the border, objects = connected regions that stand
// out from it, colour = nearest palette entry, kind = best fitting outline.

import BitsFusion

extension SceneEvaluator {
    /// Pixels at least this share of a region's highest contrast make up its core, which gives its colour.
    private static let coreShare: Float = 0.75
    /// Empty pixels around a region's bounding box in its mask, so that larger outlines are penalised.
    private static let maskMargin = 2

    /// The objects of `image`, in raster order of their topmost pixel.
    ///
    /// - Parameter image: values in 0...1, any size; pixels that hold NaN count as background.
    /// - Returns: the regions that stand out, specks left out, each with what was recognised of it.
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
                // NaN must not lose to the other channels: it spreads, and is above no threshold.
                if !(difference <= contrasts[offset]) { contrasts[offset] = difference }
            }
        }
        return contrasts
    }

    /// The mean colour of a region's core: edge pixels, which are blended with the background, stay out.
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

    /// The coverage of region `number`: each pixel of the region, and of the ring around it, projected on the
    /// line from the background to the region's colour.
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
