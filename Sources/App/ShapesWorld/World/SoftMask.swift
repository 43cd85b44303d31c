// SPDX-License-Identifier: Apache-2.0
//
// The coverage of one object on a small window of the image: 0 outside, 1 inside, between at the edges.

/// Coverage values on a window whose top left pixel is (`left`, `top`).
struct SoftMask {
    let left: Int, top: Int, width: Int, height: Int
    /// [height, width], 0...1.
    var values: [Float]

    /// The sum of the coverage, in square pixels.
    var area: Float { values.reduce(0, +) }

    /// The centre of mass in pixels of the image; the window's centre if the mask is empty.
    var centroid: SIMD2<Float> {
        var sum = SIMD2<Float>.zero
        var total: Float = 0
        for row in 0..<height {
            for column in 0..<width {
                let value = values[row * width + column]
                sum += value * SIMD2(Float(column), Float(row))
                total += value
            }
        }
        let inWindow = total > 0 ? sum / total + 0.5 : 0.5 * SIMD2(Float(width), Float(height))
        return inWindow + SIMD2(Float(left), Float(top))
    }

    /// Soft intersection over union with an outline, Σ min / Σ max, 0...1.
    ///
    /// The window must contain all of the outline that counts: coverage outside it is not seen.
    func overlap(with kind: ShapeKind, center: SIMD2<Float>, radius: Float) -> Float {
        var intersection: Float = 0
        var union: Float = 0
        values.withUnsafeBufferPointer { values in
            for row in 0..<height {
                let y = Float(top + row) + 0.5 - center.y
                for column in 0..<width {
                    let x = Float(left + column) + 0.5 - center.x
                    let template = kind.coverage(x: x, y: y, radius: radius)
                    let value = values[row * width + column]
                    intersection += min(template, value)
                    union += max(template, value)
                }
            }
        }
        return union > 0 ? intersection / union : 0
    }
}
