// SPDX-License-Identifier: Apache-2.0
// Crops, reflections and rotations, which move pixels without changing them. Positions are those of torchvision's
// `CenterCrop` and `RandomHorizontalFlip`.

extension RGBImage {
    /// A part of the image.
    ///
    /// - Parameters:
    ///   - x: the first column of the part.
    ///   - y: the first row of the part.
    ///   - width: the width of the part in pixels.
    ///   - height: the height of the part in pixels.
    /// - Returns: an image of this size.
    /// - Precondition: the part is not empty and inside the image.
    public func cropped(x: Int, y: Int, width: Int, height: Int) -> RGBImage {
        precondition(
            x >= 0 && y >= 0 && width > 0 && height > 0 && width <= self.width - x && height <= self.height - y,
            "RGBImage: crop of \(width)x\(height) at (\(x), \(y)) from \(self.width)x\(self.height)")
        return gathered(width: width, height: height, first: y * self.width + x, column: 1, row: self.width)
    }

    /// The part in the center of the image, as torchvision's `CenterCrop`.
    ///
    /// - Precondition: the part is not empty and not larger than the image.
    public func centerCropped(width: Int, height: Int) -> RGBImage {
        let origin = centerCropOrigin(width: width, height: height)
        return cropped(x: origin.x, y: origin.y, width: width, height: height)
    }

    /// The first column and row of `centerCropped(width:height:)`. Halves are rounded to even numbers.
    public func centerCropOrigin(width: Int, height: Int) -> (x: Int, y: Int) {
        func middle(_ difference: Int) -> Int { Int((Double(difference) / 2).rounded(.toNearestOrEven)) }
        return (middle(self.width - width), middle(self.height - height))
    }

    /// The image with left and right exchanged.
    public func flippedHorizontally() -> RGBImage { oriented(.mirrored) }

    /// The upright image of one that is stored in `orientation`.
    func oriented(_ orientation: ImageOrientation) -> RGBImage {
        guard orientation != .upright else { return self }
        let right = width - 1, bottom = (height - 1) * width
        // The first pixel of the upright image, and the steps to the next column and to the next row.
        let (first, column, row) =
            switch orientation {
            case .upright: (0, 1, width)
            case .mirrored: (right, -1, width)
            case .rotated180: (bottom + right, -1, -width)
            case .flipped: (bottom, 1, -width)
            case .transposed: (0, width, 1)
            case .rotated90: (bottom, -width, 1)
            case .transverse: (bottom + right, -width, -1)
            case .rotated270: (right, width, -1)
            }
        return gathered(
            width: orientation.exchangesSides ? height : width, height: orientation.exchangesSides ? width : height,
            first: first, column: column, row: row)
    }

    /// The image whose pixel in column x and row y is the pixel `first + x * column + y * row` of this one.
    private func gathered(width: Int, height: Int, first: Int, column: Int, row: Int) -> RGBImage {
        let area = self.width * self.height
        var result = [Float]()
        result.reserveCapacity(3 * width * height)
        for channel in 0..<3 {
            for y in 0..<height {
                var offset = channel * area + first + y * row
                for _ in 0..<width {
                    result.append(pixels[offset])
                    offset += column
                }
            }
        }
        return RGBImage(width: width, height: height, pixels: result)
    }
}
