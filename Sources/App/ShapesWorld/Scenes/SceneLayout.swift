// SPDX-License-Identifier: Apache-2.0
// Draws a scene that satisfies a caption: random colors and sizes, then one object after another by rejection. Placing
// all objects at once would rarely succeed for captions with many objects.

/// The distribution of scenes given a caption.
public enum SceneLayout {
    /// The smallest distance between outlines, in pixels, so that they never merge.
    public static let minimumGap: Float = 1.5
    /// The smallest distance between an outline and the frame, in pixels.
    public static let frameMargin: Float = 1
    /// The largest difference between a background and mid-gray, so that the model value 2p - 1 is about 0.
    public static let backgroundJitter: Float = 0.05
    /// The smallest distance of objects along their relation, in pixels.
    static let relationMargin: Float = 4
    /// The smallest ratio of the distance along a relation to the distance across it. No other relation then holds.
    static let relationDominance: Float = 1.25

    /// Attempts to place one object before the scene is drawn again.
    private static let attemptsPerObject = 40

    /// A scene of `caption`.
    ///
    /// - Complexity: about 1 µs. An attempt succeeds with probability > 0.25 for every caption, so that the expected
    ///   number of attempts is below 4. The probability is lowest if a first object at the frame leaves no room for its
    ///   relation.
    public static func draw(_ caption: SceneCaption, using random: inout SceneRandom) -> Scene {
        while true {
            if let scene = attempt(caption, using: &random) { return scene }
        }
    }

    /// A scene of `caption`, or nil if there is no room for an object next to the previous ones.
    static func attempt(_ caption: SceneCaption, using random: inout SceneRandom) -> Scene? {
        let background = 0.5 + random.uniform(in: -backgroundJitter...backgroundJitter)
        let radii = radii(for: caption)
        var placed: [PlacedObject] = []
        placed.reserveCapacity(caption.objects.count)
        for phrase in caption.objects {
            guard let object = place(phrase, among: placed, caption.relation, radii, &random) else {
                return nil
            }
            placed.append(object)
        }
        return Scene(background: background, objects: placed)
    }

    /// The range of radii, larger for fewer objects.
    static func radii(for caption: SceneCaption) -> ClosedRange<Float> {
        if caption.objects.count == 1 { return 5...8 }
        return caption.countedObject == nil ? 4...6 : 3.1...5
    }

    private static func place(
        _ phrase: ObjectPhrase, among placed: [PlacedObject], _ relation: Relation?,
        _ radii: ClosedRange<Float>,
        _ random: inout SceneRandom
    ) -> PlacedObject? {
        let color = phrase.color ?? random.element(of: ShapeColor.allCases)
        let rgb = jittered(color, &random)
        let radius = random.uniform(in: radii)
        let extents = phrase.kind.extents(radius: radius)
        let side = Float(Scene.side)
        let columns = (frameMargin + extents.left)...(side - frameMargin - extents.right)
        let rows = (frameMargin + extents.top)...(side - frameMargin - extents.bottom)
        for _ in 0..<attemptsPerObject {
            let center = SIMD2(random.uniform(in: columns), random.uniform(in: rows))
            let object = PlacedObject(
                kind: phrase.kind, color: color, rgb: rgb, center: center, radius: radius)
            guard placed.allSatisfy({ $0.gap(to: object) >= minimumGap }) else { continue }
            guard let relation, let first = placed.first else { return object }
            let offset = first.center - center
            if relation.holds(offset: offset, margin: relationMargin, dominance: relationDominance) {
                return object
            }
        }
        return nil
    }

    private static func jittered(_ color: ShapeColor, _ random: inout SceneRandom) -> SIMD3<Float> {
        let range = -ShapeColor.jitter...ShapeColor.jitter
        return color.rgb
            + SIMD3(random.uniform(in: range), random.uniform(in: range), random.uniform(in: range))
    }
}
