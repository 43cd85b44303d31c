// SPDX-License-Identifier: Apache-2.0
// The four outlines of the shapes world: words, and geometry as signed distances in pixels. Every length scales with
// one radius r, chosen so that the four kinds look equally large. x points right, y points down, the origin is the
// outline's centroid.

/// The outline of an object.
public enum ShapeKind: Int, CaseIterable, Hashable, Sendable {
    case circle, square, triangle, cross

    /// The singular noun, as captions spell it: `"circle"`.
    public var noun: String {
        switch self {
        case .circle: "circle"
        case .square: "square"
        case .triangle: "triangle"
        case .cross: "cross"
        }
    }

    /// The plural noun, as captions spell it: `"crosses"`.
    public var plural: String {
        self == .cross ? "crosses" : noun + "s"
    }
}

extension ShapeKind: CustomStringConvertible {
    public var description: String { noun }
}

/// Distances from the centroid of an outline to its bounding box, in pixels, all positive.
struct ShapeExtents: Equatable {
    let left: Float, right: Float, top: Float, bottom: Float
}

extension ShapeKind {
    /// Half the side of a square of radius 1. Its area equals the circle's.
    private static let squareHalfSide: Float = 0.886
    /// Distance from centroid to corner of a triangle of radius 1, which is equilateral with a horizontal base.
    private static let triangleCorner: Float = 1.25
    /// Half the length and half the width of a cross's bars at radius 1.
    private static let crossReach: Float = 1.05
    private static let crossHalfWidth: Float = 0.38
    private static let halfSqrt3: Float = 0.8660254

    /// Signed distance from (`x`, `y`) to the outline of radius `radius` around the origin, negative inside.
    ///
    /// For the straight-edged kinds this is the largest distance to the lines of the edges, and for the cross the
    /// smaller value of its two bars. It is exact along edges and keeps corners sharp.
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

    /// The share of a pixel with center (`x`, `y`) that the outline covers, 0...1: a ramp of one pixel.
    @inline(__always)
    func coverage(x: Float, y: Float, radius: Float) -> Float {
        min(max(0.5 - signedDistance(x: x, y: y, radius: radius), 0), 1)
    }

    /// The bounding box of the outline of radius `radius`, relative to its centroid.
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

    /// The radius of the smallest circle around the centroid that contains the outline, in pixels.
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
