// SPDX-License-Identifier: Apache-2.0
// Paints a scene: the background, then each object blended by its coverage, clamp(0.5 - signed distance, 0, 1).
// Output is [3, 32, 32] (CHW), values 0...1.

import BitsFusion

/// Renders scenes to pixels.
public enum SceneRenderer {
    /// Values per image: 3 * 32 * 32.
    public static let valuesPerImage = 3 * Scene.side * Scene.side

    /// The image of `scene`.
    public static func render(_ scene: Scene) -> RGBImage {
        let pixels = [Float](unsafeUninitializedCapacity: valuesPerImage) { buffer, count in
            render(scene, into: buffer)
            count = valuesPerImage
        }
        return RGBImage(width: Scene.side, height: Scene.side, pixels: pixels)
    }

    /// Paints `scene` into `planes`, [3, 32, 32], overwriting every value. The memory may be uninitialized.
    ///
    /// - Precondition: `planes` holds exactly `valuesPerImage` values.
    public static func render(_ scene: Scene, into planes: UnsafeMutableBufferPointer<Float>) {
        precondition(
            planes.count == valuesPerImage,
            "SceneRenderer: buffer of \(planes.count) values for \(valuesPerImage)")
        planes.initialize(repeating: scene.background)
        for object in scene.objects { paint(object, planes) }
    }

    private static func paint(_ object: PlacedObject, _ planes: UnsafeMutableBufferPointer<Float>) {
        let side = Scene.side, area = side * side
        let extents = object.kind.extents(radius: object.radius)
        let columns = pixelRange(object.center.x, extents.left, extents.right)
        let rows = pixelRange(object.center.y, extents.top, extents.bottom)
        let rgb = object.rgb
        for row in rows {
            let y = Float(row) + 0.5 - object.center.y
            for column in columns {
                let x = Float(column) + 0.5 - object.center.x
                let coverage = object.kind.coverage(x: x, y: y, radius: object.radius)
                if coverage == 0 { continue }
                let red = row * side + column, green = red + area, blue = green + area
                planes[red] += coverage * (rgb.x - planes[red])
                planes[green] += coverage * (rgb.y - planes[green])
                planes[blue] += coverage * (rgb.z - planes[blue])
            }
        }
    }

    /// The pixels along one axis that an outline covers, including half a pixel of blending.
    private static func pixelRange(_ center: Float, _ before: Float, _ after: Float) -> Range<Int> {
        let first = Int((center - before - 0.5).rounded(.down))
        let end = Int((center + after + 0.5).rounded(.up))
        return min(max(first, 0), Scene.side)..<min(max(end, 0), Scene.side)
    }
}
