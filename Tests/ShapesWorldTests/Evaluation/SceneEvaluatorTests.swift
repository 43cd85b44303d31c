// SPDX-License-Identifier: Apache-2.0
// The evaluator on single images. Its accuracy on a data set is in EvaluatorAccuracyTests.swift.

import Images
import Testing

@testable import ShapesWorld

@Suite struct SceneEvaluatorTests {
    private let evaluator = SceneEvaluator()

    private func object(
        _ kind: ShapeKind, _ color: ShapeColor, _ x: Float, _ y: Float, radius: Float = 5
    ) -> PlacedObject {
        PlacedObject(kind: kind, color: color, rgb: color.rgb, center: [x, y], radius: radius)
    }

    private func render(_ objects: [PlacedObject], background: Float = 0.5) -> RGBImage {
        SceneRenderer.render(Scene(background: background, objects: objects))
    }

    private func verdict(_ image: RGBImage, _ text: String) throws -> Verdict {
        evaluator.evaluate(image, against: try SceneCaption(parsing: text))
    }

    @Test(
        "detection recovers kind, color, position and size", arguments: ShapeKind.allCases, ShapeColor.allCases)
    func detection(kind: ShapeKind, color: ShapeColor) throws {
        for radius in [3.1, 4.5, 8] as [Float] {
            let found = evaluator.detect(render([object(kind, color, 14.3, 17.6, radius: radius)]))
            #expect(found.count == 1)
            let detected = try #require(found.first)
            #expect(detected.kind == kind && detected.color == color)
            #expect(largestMagnitude(detected.center - [14.3, 17.6]) < 0.25)
            #expect(abs(detected.area - kind.unitArea * radius * radius) < 2)
            #expect(detected.overlap > 0.9)
        }
    }

    @Test("an empty image has no objects")
    func empty() throws {
        let verdict = try verdict(render([]), "a circle")
        #expect(verdict.mismatches == [.count(expected: 1, found: 0)])
        #expect(verdict.description == "expected 1 objects, found 0; found nothing")
    }

    @Test("an extra object fails an image")
    func extraObject() throws {
        let image = render([object(.circle, .red, 8, 8), object(.square, .blue, 24, 24)])
        #expect(try verdict(image, "a red circle").mismatches == [.count(expected: 1, found: 2)])
        #expect(try verdict(image, "a blue square and a red circle").isSatisfied)
    }

    @Test("the reason lists the missing objects")
    func missing() throws {
        let image = render([object(.circle, .red, 8, 8), object(.square, .blue, 24, 24)])
        #expect(
            try verdict(image, "a red circle and a cross").mismatches == [.objects(missing: [.init(.cross)])])
        #expect(
            try verdict(image, "a blue circle and a red square").mismatches
                == [.objects(missing: [.init(.circle, .blue), .init(.square, .red)])])
    }

    @Test("exactly one relation holds, for any order of detection")
    func relations() throws {
        for (dx, dy, expected) in [
            (-9, 3, Relation.leftOf), (9, -3, .rightOf), (3, -9, .above), (-3, 9, .below),
        ]
            as [(Float, Float, Relation)]
        {
            let image = render([
                object(.square, .blue, 16 - dx / 2, 16 - dy / 2, radius: 3.5),
                object(.circle, .red, 16 + dx / 2, 16 + dy / 2, radius: 3.5),
            ])
            for relation in Relation.allCases {
                let verdict = try verdict(image, "a red circle \(relation) a blue square")
                #expect(verdict.isSatisfied == (relation == expected))
                if relation != expected { #expect(verdict.mismatches == [.relation(expected: relation)]) }
            }
        }
    }

    @Test("small regions are ignored, and large regions without a kind count")
    func specksAndBlobs() throws {
        var image = render([object(.circle, .red, 10, 10)])
        image[28, 28] = [1, 1, 1]
        image[28, 29] = [1, 1, 1]
        #expect(try verdict(image, "a circle").isSatisfied)
        // A bar of 20x2 pixels is large enough to count and fits no outline.
        image.fill(x: 8, y: 24, width: 20, height: 2, with: ShapeColor.green.rgb)
        let found = evaluator.detect(image)
        #expect(found.count == 2 && found.last?.kind == nil && found.last?.color == .green)
        #expect(try !verdict(image, "a circle").isSatisfied)
    }

    @Test("a color halfway between two palette entries is not recognized")
    func colorBetween() {
        let orange = 0.5 * (ShapeColor.red.rgb + ShapeColor.yellow.rgb)
        let placed = PlacedObject(kind: .circle, color: .red, rgb: orange, center: [16, 16], radius: 6)
        let found = evaluator.detect(render([placed]))
        #expect(found.map(\.kind) == [.circle])
        #expect(found.map(\.color) == [nil])
    }

    @Test("detection does not depend on the brightness of the background")
    func backgrounds() throws {
        for background in [0.3, 0.5, 0.7] as [Float] {
            let image = render([object(.triangle, .cyan, 16, 16, radius: 6)], background: background)
            #expect(try verdict(image, "a cyan triangle").isSatisfied, "background \(background)")
        }
    }

    @Test("touching objects are one region")
    func touching() throws {
        let image = render([object(.circle, .red, 11, 16), object(.circle, .red, 20, 16)])
        #expect(try verdict(image, "two circles").mismatches == [.count(expected: 2, found: 1)])
    }

    @Test("NaN pixels are background")
    func notANumber() throws {
        var image = render([object(.square, .yellow, 16, 16)])
        for row in 2..<6 { for column in 2..<6 { image[column, row] = SIMD3(repeating: .nan) } }
        #expect(try verdict(image, "a yellow square").isSatisfied)
        let nothing = RGBImage(width: 32, height: 32, filledWith: SIMD3(repeating: .nan))
        #expect(evaluator.detect(nothing).isEmpty)
    }

    @Test("pure noise satisfies no caption")
    func noise() {
        var random = SceneRandom(seed: 8)
        for _ in 0..<50 {
            let image = RGBImage(width: 32, height: 32, filledWith: SIMD3(repeating: 0.5))
                .addingNoise(0.3, using: &random)
            let found = evaluator.detect(image)
            for family in PromptFamily.allCases {
                #expect(
                    !CaptionCatalog.captions(of: family).contains {
                        evaluator.judge(found, against: $0).isSatisfied
                    })
            }
        }
    }
}
