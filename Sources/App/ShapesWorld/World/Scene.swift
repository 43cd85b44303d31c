// SPDX-License-Identifier: Apache-2.0
//
// A scene is a caption made concrete: which object stands where, how large, in which exact colour. Drawn by
// SceneLayout, painted by SceneRenderer. Coordinates are pixels of the 32x32 frame, x right, y down.

/// An object of a scene.
public struct PlacedObject: Hashable, Sendable {
    public let kind: ShapeKind
    public let color: ShapeColor
    /// The palette entry of `color` with its jitter, 0...1.
    public let rgb: SIMD3<Float>
    /// The centroid; pixel (i, j) has its centre at (i + 0.5, j + 0.5).
    public let center: SIMD2<Float>
    /// In pixels; outlines are defined relative to it.
    public let radius: Float

    /// A lower bound of the distance between two outlines, in pixels; <= 0 when they may touch.
    ///
    /// The larger of the bounds by enclosing circles and by bounding boxes.
    func gap(to other: PlacedObject) -> Float {
        let offset = other.center - center
        let between = (offset * offset).sum().squareRoot()
        let circles =
            between - kind.circumradius(radius: radius) - other.kind.circumradius(radius: other.radius)
        let mine = kind.extents(radius: radius), theirs = other.kind.extents(radius: other.radius)
        let columns = max(offset.x - mine.right - theirs.left, -offset.x - mine.left - theirs.right)
        let rows = max(offset.y - mine.bottom - theirs.top, -offset.y - mine.top - theirs.bottom)
        return max(circles, columns, rows)
    }
}

/// Objects on a plain background.
public struct Scene: Hashable, Sendable {
    /// Width and height of the frame, in pixels.
    public static let side = 32

    /// The grey level behind the objects, 0...1.
    public let background: Float
    public let objects: [PlacedObject]
}
