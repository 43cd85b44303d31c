// SPDX-License-Identifier: Apache-2.0
// Finds the outline that fits a soft mask best. Position and size of each kind are fitted by soft intersection over
// union, starting from the centroid and area of the mask.

/// An outline fitted to a mask.
struct TemplateMatch: Equatable {
    let kind: ShapeKind
    let center: SIMD2<Float>
    let radius: Float
    /// Soft intersection over union of the outline and the mask, 0...1.
    let overlap: Float
}

enum TemplateMatcher {
    /// Steps of the search in pixels, coarse to fine.
    private static let steps: [Float] = [0.5, 0.2]
    /// Rounds per step. The search starts at the right area and centroid, and needs no more.
    private static let roundsPerStep = 3

    /// The best match of any kind.
    static func bestMatch(_ mask: SoftMask) -> TemplateMatch {
        let fits = ShapeKind.allCases.map { fit($0, mask) }
        return fits.dropFirst().reduce(fits[0]) { $1.overlap > $0.overlap ? $1 : $0 }
    }

    /// Coordinate search over center and radius of one kind.
    private static func fit(_ kind: ShapeKind, _ mask: SoftMask) -> TemplateMatch {
        var center = mask.centroid
        var radius = max((mask.area / kind.unitArea).squareRoot(), 0.5)
        var best = mask.overlap(with: kind, center: center, radius: radius)
        for step in steps {
            for _ in 0..<roundsPerStep {
                let before = best
                for (dx, dy, dr) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] as [(Float, Float, Float)] {
                    for sign in [step, -step] {
                        let moved = center + sign * SIMD2(dx, dy)
                        let resized = max(radius + sign * dr, 0.5)
                        let overlap = mask.overlap(with: kind, center: moved, radius: resized)
                        guard overlap > best else { continue }
                        (best, center, radius) = (overlap, moved, resized)
                        break
                    }
                }
                if best == before { break }
            }
        }
        return TemplateMatch(kind: kind, center: center, radius: radius, overlap: best)
    }
}

/// Coverage values of one object, 0 outside and 1 inside, on a window whose top left pixel is (`left`, `top`).
struct SoftMask {
    let left: Int, top: Int, width: Int, height: Int
    /// [height, width], 0...1.
    var values: [Float]

    /// The sum of the coverage, in square pixels.
    var area: Float { values.reduce(0, +) }

    /// The center of mass in pixels of the image; the window's center if the mask is empty.
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
    /// Coverage outside the window is ignored.
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
