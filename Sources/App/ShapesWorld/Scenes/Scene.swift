// SPDX-License-Identifier: Apache-2.0
// A scene: positions, sizes and exact colors of the objects of a caption. Drawn by SceneLayout, painted by
// SceneRenderer. Coordinates are pixels of the 32x32 frame, x right, y down.

/// An object of a scene.
public struct PlacedObject: Hashable, Sendable {
    public let kind: ShapeKind
    public let color: ShapeColor
    /// The palette entry of `color` plus jitter, 0...1.
    public let rgb: SIMD3<Float>
    /// The centroid. The center of pixel (i, j) is (i + 0.5, j + 0.5).
    public let center: SIMD2<Float>
    /// In pixels; see `ShapeKind`.
    public let radius: Float

    /// A lower bound of the distance between two outlines, in pixels; <= 0 if they may touch.
    ///
    /// The larger of the bounds by enclosing circles and by bounding boxes.
    func gap(to other: PlacedObject) -> Float {
        let offset = other.center - center
        let between = (offset * offset).sum().squareRoot()
        let circles =
            between - kind.circumradius(radius: radius) - other.kind.circumradius(radius: other.radius)
        let extents = kind.extents(radius: radius), otherExtents = other.kind.extents(radius: other.radius)
        let columns = max(
            offset.x - extents.right - otherExtents.left, -offset.x - extents.left - otherExtents.right)
        let rows = max(offset.y - extents.bottom - otherExtents.top, -offset.y - extents.top - otherExtents.bottom)
        return max(circles, columns, rows)
    }
}

/// Objects on a plain background.
public struct Scene: Hashable, Sendable {
    /// Width and height of the frame, in pixels.
    public static let side = 32

    /// The gray level behind the objects, 0...1.
    public let background: Float
    public let objects: [PlacedObject]
}

/// The palette: six corners of the RGB cube, moved inward from 0 and 1 to leave room for jitter.
///
/// All entries have the same contrast to the mid-gray background. Two entries differ by 0.84 in at least one channel.
public enum ShapeColor: Int, CaseIterable, Hashable, Sendable {
    case red, green, blue, yellow, magenta, cyan

    /// The largest difference between a channel of a drawn object and its palette entry.
    public static let jitter: Float = 0.04

    private static let low: Float = 0.08
    private static let high: Float = 0.92

    /// The word that captions use.
    public var word: String {
        switch self {
        case .red: "red"
        case .green: "green"
        case .blue: "blue"
        case .yellow: "yellow"
        case .magenta: "magenta"
        case .cyan: "cyan"
        }
    }

    /// The palette entry, (R, G, B), each in 0...1.
    public var rgb: SIMD3<Float> {
        let low = Self.low, high = Self.high
        return switch self {
        case .red: SIMD3(high, low, low)
        case .green: SIMD3(low, high, low)
        case .blue: SIMD3(low, low, high)
        case .yellow: SIMD3(high, high, low)
        case .magenta: SIMD3(high, low, high)
        case .cyan: SIMD3(low, high, high)
        }
    }

    /// The palette entry nearest to `rgb` by Euclidean distance, and that distance.
    static func nearest(to rgb: SIMD3<Float>) -> (color: ShapeColor, distance: Float) {
        var best = (color: ShapeColor.red, distance: Float.infinity)
        for candidate in allCases {
            let difference = candidate.rgb - rgb
            let distance = (difference * difference).sum().squareRoot()
            if distance < best.distance { best = (candidate, distance) }
        }
        return best
    }
}

extension ShapeColor: CustomStringConvertible {
    public var description: String { word }
}
