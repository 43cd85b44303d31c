// SPDX-License-Identifier: Apache-2.0
// Scenes satisfy their captions and the constraints of the layout.

import Testing

@testable import ShapesWorld

@Suite struct SceneLayoutTests {
    private let dataset = ShapesDataset(seed: 21)

    @Test("outlines keep the minimum distance from each other")
    func disjoint() {
        for index in 0..<300 {
            let objects = dataset.scene(at: index).objects
            for (number, first) in objects.enumerated() {
                for second in objects[(number + 1)...] {
                    #expect(distance(first, second) >= SceneLayout.minimumGap, "sample \(index)")
                }
            }
        }
    }

    @Test("outlines keep the minimum distance from the frame")
    func insideFrame() {
        let allowed = SceneLayout.frameMargin...(Float(Scene.side) - SceneLayout.frameMargin)
        for index in 0..<1000 {
            for object in dataset.scene(at: index).objects {
                for point in boundary(of: object) {
                    #expect(allowed.contains(point.x) && allowed.contains(point.y), "sample \(index)")
                }
            }
        }
    }

    @Test("kinds, named colors, counts and relations are those of the caption")
    func truthful() {
        for index in 0..<2000 {
            let caption = dataset.caption(at: index), scene = dataset.scene(at: index)
            #expect(scene.objects.map(\.kind) == caption.objects.map(\.kind))
            for (object, phrase) in zip(scene.objects, caption.objects) {
                #expect(phrase.color == nil || phrase.color == object.color)
            }
            if caption.relation != nil {
                let offset = scene.objects[0].center - scene.objects[1].center
                let holding = Relation.allCases.filter {
                    $0.holds(offset: offset, margin: 4, dominance: 1.25)
                }
                #expect(holding == [caption.relation])
            }
        }
    }

    @Test("sizes, colors and backgrounds are in their ranges and cover them")
    func ranges() {
        let scenes = (0..<2000).map { (dataset.caption(at: $0), dataset.scene(at: $0)) }
        for (caption, scene) in scenes {
            #expect(abs(scene.background - 0.5) <= SceneLayout.backgroundJitter + 1e-6)
            for object in scene.objects {
                #expect(SceneLayout.radii(for: caption).contains(object.radius))
                let jitter = object.rgb - object.color.rgb
                #expect(largestMagnitude(jitter) <= ShapeColor.jitter + 1e-6)
            }
        }
        let backgrounds = scenes.map(\.1.background)
        #expect((backgrounds.min() ?? 1) < 0.46 && (backgrounds.max() ?? 0) > 0.54)
    }

    @Test(
        "for each caption more than a quarter of the attempts succeed",
        arguments: PromptFamily.allCases)
    func attemptsSucceed(family: PromptFamily) {
        for caption in CaptionCatalog.captions(of: family).prefix(100) {
            var random = SceneRandom(seed: 4)
            let successes = (0..<400).filter { _ in SceneLayout.attempt(caption, using: &random) != nil }
                .count
            #expect(successes > 100, "\(caption): \(successes) of 400")
        }
    }

    @Test("radii depend on the number of objects")
    func radii() throws {
        #expect(SceneLayout.radii(for: try SceneCaption(parsing: "a red circle")) == 5...8)
        #expect(SceneLayout.radii(for: try SceneCaption(parsing: "a circle and a square")) == 4...6)
        #expect(SceneLayout.radii(for: try SceneCaption(parsing: "two circles")) == 3.1...5)
    }

    /// Points on the outline, found by bisection along rays from the centroid.
    private func boundary(of object: PlacedObject) -> [SIMD2<Float>] {
        // Directions by normalized points of a square: no trigonometry, and the corners are among them.
        let steps = stride(from: Float(-1), through: 1, by: 1.0 / 24)
        let rays = steps.flatMap {
            [SIMD2($0, 1), SIMD2($0, -1), SIMD2(1, $0), SIMD2(-1, $0)] as [SIMD2<Float>]
        }
        return rays.map { ray in
            var inside: Float = 0, outside: Float = 16
            for _ in 0..<30 {
                let middle = 0.5 * (inside + outside), point = middle * ray
                let distance = object.kind.signedDistance(x: point.x, y: point.y, radius: object.radius)
                if distance <= 0 { inside = middle } else { outside = middle }
            }
            return object.center + inside * ray
        }
    }

    private func distance(_ first: PlacedObject, _ second: PlacedObject) -> Float {
        let secondBoundary = boundary(of: second)
        return boundary(of: first).reduce(Float.infinity) { least, point in
            secondBoundary.reduce(least) { min($0, (($1 - point) * ($1 - point)).sum().squareRoot()) }
        }
    }
}
