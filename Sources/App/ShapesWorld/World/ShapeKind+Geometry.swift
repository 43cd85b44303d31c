// SPDX-License-Identifier: Apache-2.0
//
// Outlines as signed distances, in pixels. Every length scales with one "radius" r, chosen so that the four
// kinds look equally large. x points right, y points down, the origin is the centroid of the outline.

/// The axis-aligned reach of an outline from its centroid, in pixels; every value is positive.
struct ShapeExtents: Equatable {
    let left: Float, right: Float, top: Float, bottom: Float
}

extension ShapeKind {
    /// Half the side of a square of radius 1: the square's area equals the circle's.
    private static let squareHalfSide: Float = 0.886
    /// Centroid to corner of a triangle of radius 1, which is equilateral and stands on its base.
    private static let triangleCorner: Float = 1.25
    /// Half the length and half the width of a cross's bars at radius 1.
    private static let crossReach: Float = 1.05
    private static let crossHalfWidth: Float = 0.38
    private static let halfSqrt3: Float = 0.8660254

    /// Signed distance from (`x`, `y`) to the outline of radius `radius` around the origin, negative inside.
    ///
    /// For the straight-edged kinds this is the largest of the distances to the edges' lines (for the cross,
    /// the smaller of its two bars'), which is exact along edges and keeps corners crisp.
    @inline(__always)
    func signedDistance(x: Float, y: Float, radius: Float) -> Float {
        switch self {
        case .circle:
            return (x * x + y * y).squareRoot() - radius
        case .square:
            return max(abs(x), abs(y)) - Self.squareHalfSide * radius
        case .triangle:
            let slanted = Self.halfSqrt3 * abs(x) - 0.5 * y
            return max(y, slanted) - 0.5 * Self.triangleCorner * radius
        case .cross:
            let reach = Self.crossReach * radius
            let halfWidth = Self.crossHalfWidth * radius
            let horizontal = max(abs(x) - reach, abs(y) - halfWidth)
            let vertical = max(abs(x) - halfWidth, abs(y) - reach)
            return min(horizontal, vertical)
        }
    }

    /// The share of a pixel whose centre is (`x`, `y`) that the outline covers: 0...1, a ramp of one pixel.
    @inline(__always)
    func coverage(x: Float, y: Float, radius: Float) -> Float {
        min(max(0.5 - signedDistance(x: x, y: y, radius: radius), 0), 1)
    }

    /// How far the outline of radius `radius` reaches from its centroid along the axes, in pixels.
    func extents(radius: Float) -> ShapeExtents {
        switch self {
        case .circle:
            return ShapeExtents(left: radius, right: radius, top: radius, bottom: radius)
        case .square:
            let half = Self.squareHalfSide * radius
            return ShapeExtents(left: half, right: half, top: half, bottom: half)
        case .triangle:
            let corner = Self.triangleCorner * radius
            let halfSide = Self.halfSqrt3 * corner
            return ShapeExtents(left: halfSide, right: halfSide, top: corner, bottom: 0.5 * corner)
        case .cross:
            let reach = Self.crossReach * radius
            return ShapeExtents(left: reach, right: reach, top: reach, bottom: reach)
        }
    }

    /// The radius of the smallest circle around the centroid that holds the outline, in pixels.
    func circumradius(radius: Float) -> Float {
        switch self {
        case .circle: return radius
        case .square: return Self.squareHalfSide * radius * Float(2).squareRoot()
        case .triangle: return Self.triangleCorner * radius
        case .cross:
            let reach = Self.crossReach, halfWidth = Self.crossHalfWidth
            return (reach * reach + halfWidth * halfWidth).squareRoot() * radius
        }
    }

    /// The area of the outline at radius 1, in square pixels; the area at radius r is r² times this.
    var unitArea: Float {
        switch self {
        case .circle: return .pi
        case .square: return 4 * Self.squareHalfSide * Self.squareHalfSide
        case .triangle: return 1.5 * Self.halfSqrt3 * Self.triangleCorner * Self.triangleCorner
        case .cross: return 4 * Self.crossHalfWidth * (2 * Self.crossReach - Self.crossHalfWidth)
        }
    }
}
