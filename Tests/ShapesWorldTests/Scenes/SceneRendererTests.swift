// SPDX-License-Identifier: Apache-2.0
// Rendered pixels against the geometry of the outlines.

import Images
import Testing

@testable import ShapesWorld

@Suite struct SceneRendererTests {
    private func scene(_ kind: ShapeKind, radius: Float, center: SIMD2<Float> = [16.2, 15.7]) -> Scene {
        Scene(
            background: 0.5,
            objects: [
                PlacedObject(kind: kind, color: .red, rgb: ShapeColor.red.rgb, center: center, radius: radius)
            ])
    }

    @Test("rendering the bounding box equals rendering all pixels", arguments: ShapeKind.allCases)
    func boundingBox(kind: ShapeKind) {
        for center in [[16.2, 15.7], [3, 29.5], [31, 1]] as [SIMD2<Float>] {
            let scene = scene(kind, radius: 6.3, center: center), image = SceneRenderer.render(scene)
            for row in 0..<32 {
                for column in 0..<32 {
                    let offset = SIMD2(Float(column), Float(row)) + 0.5 - center
                    let distance = kind.signedDistance(x: offset.x, y: offset.y, radius: 6.3)
                    let coverage = min(max(0.5 - distance, 0), 1)
                    let expected = 0.5 + coverage * (ShapeColor.red.rgb - 0.5)
                    #expect(largestMagnitude(image[column, row] - expected) < 1e-6, "(\(column), \(row))")
                }
            }
        }
    }

    @Test("the sum of the coverage is the area of the outline", arguments: ShapeKind.allCases)
    func area(kind: ShapeKind) {
        for radius in [3.1, 5, 8] as [Float] {
            let image = SceneRenderer.render(scene(kind, radius: radius))
            var coverage: Float = 0
            for pixel in image.pixels.prefix(32 * 32) { coverage += (pixel - 0.5) / 0.42 }
            // The one-pixel ramp rounds corners by a constant number of pixels, whatever the radius.
            #expect(abs(coverage - kind.unitArea * radius * radius) < 1.5, "radius \(radius)")
        }
    }

    @Test("the centroid of the coverage is the center of the object", arguments: ShapeKind.allCases)
    func centroid(kind: ShapeKind) {
        let center = SIMD2<Float>(16.2, 15.7)
        let image = SceneRenderer.render(scene(kind, radius: 7, center: center))
        let values = image.pixels.prefix(32 * 32).map { ($0 - 0.5) / 0.42 }
        let mask = SoftMask(left: 0, top: 0, width: 32, height: 32, values: values)
        #expect(largestMagnitude(mask.centroid - center) < 0.1)
    }

    @Test("extents and circumradius enclose the outline tightly", arguments: ShapeKind.allCases)
    func extents(kind: ShapeKind) {
        let radius: Float = 5, extents = kind.extents(radius: radius)
        var reach = (left: Float(0), right: Float(0), top: Float(0), bottom: Float(0), far: Float(0))
        for row in -400...400 {
            for column in -400...400 {
                let x = Float(column) / 50, y = Float(row) / 50
                guard kind.signedDistance(x: x, y: y, radius: radius) <= 0 else { continue }
                reach = (
                    max(reach.left, -x), max(reach.right, x), max(reach.top, -y), max(reach.bottom, y),
                    max(reach.far, (x * x + y * y).squareRoot())
                )
            }
        }
        let found = [reach.left, reach.right, reach.top, reach.bottom, reach.far]
        let claimed = [
            extents.left, extents.right, extents.top, extents.bottom, kind.circumradius(radius: radius),
        ]
        for (found, claimed) in zip(found, claimed) {
            #expect(found <= claimed + 1e-4 && found > claimed - 0.05)
        }
    }

    @Test("images convert to the model's range and back, with clamping")
    func modelRange() {
        let image = SceneRenderer.render(scene(.cross, radius: 6))
        let back = RGBImage(width: 32, height: 32, modelRange: image.modelRange)
        for (value, expected) in zip(back.pixels, image.pixels) { #expect(abs(value - expected) < 1e-6) }
        #expect(RGBImage(width: 1, height: 1, modelRange: [-3, 0, 3]).pixels == [0, 0.5, 1])
    }
}
