// SPDX-License-Identifier: Apache-2.0
//
// Which outline does a soft mask show? Every kind is fitted (position and size) by soft intersection over
// union, starting from the mask's own centroid and area, and the best fit wins.

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
    /// Rounds per step: a fit that starts at the right area and centroid needs no more.
    private static let roundsPerStep = 3

    /// The best match of any kind.
    static func bestMatch(_ mask: SoftMask) -> TemplateMatch {
        let fits = ShapeKind.allCases.map { fit($0, mask) }
        return fits.dropFirst().reduce(fits[0]) { $1.overlap > $0.overlap ? $1 : $0 }
    }

    /// Coordinate search over centre and radius of one kind.
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
