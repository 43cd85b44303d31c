// SPDX-License-Identifier: Apache-2.0
// Hard negatives: captions that differ from a true caption in one word or by one exchange, and that no image of the
// true caption satisfies. They train the CLIP-proxy and test the evaluator.

/// A false caption that is close to a true one.
public struct ShapesCorruption: Hashable, Sendable {
    /// The change.
    public enum Kind: String, CaseIterable, Sendable {
        /// "a red circle" -> "a blue circle"
        case colorChanged
        /// "a circle and a square" -> "a circle and a cross"
        case shapeChanged
        /// "three circles" -> "four circles": one more or one less, from two to four
        case countChanged
        /// "a circle left of a square" -> "a circle right of a square"
        case relationFlipped
        /// "a red circle and a blue square" -> "a blue circle and a red square"
        case colorsExchanged
        /// "a circle left of a square" -> "a square left of a circle"
        case objectsExchanged
    }

    public let kind: Kind
    /// The false caption.
    public let caption: SceneCaption

    /// Every corruption of `caption`, in a fixed order; never empty.
    public static func all(of caption: SceneCaption) -> [ShapesCorruption] {
        Kind.allCases.flatMap { corruptions(of: caption, $0) }
    }

    /// Every corruption of `caption` of one kind; empty if the kind does not apply.
    ///
    /// Corruptions keep the family, so that the sentences differ in one position only: "a circle and a circle" would
    /// become "two circles".
    public static func corruptions(of caption: SceneCaption, _ kind: Kind) -> [ShapesCorruption] {
        candidates(caption, kind)
            .filter { $0.family == caption.family && $0.contradicts(caption) }
            .map { ShapesCorruption(kind: kind, caption: $0) }
    }

    /// A random corruption of `caption`: a random applicable kind, then a random corruption of that kind.
    public static func draw(_ caption: SceneCaption, using random: inout SceneRandom) -> ShapesCorruption {
        let byKind = Kind.allCases.map { corruptions(of: caption, $0) }.filter { !$0.isEmpty }
        return random.element(of: random.element(of: byKind))
    }

    private static func candidates(_ caption: SceneCaption, _ kind: Kind) -> [SceneCaption] {
        switch kind {
        case .colorChanged:
            return replacingOneObject(caption) { object in
                object.color == nil ? [] : ShapeColor.allCases.map { ObjectPhrase(object.kind, $0) }
            }
        case .shapeChanged:
            return replacingOneObject(caption) { object in
                ShapeKind.allCases.map { ObjectPhrase($0, object.color) }
            }
        case .countChanged:
            guard let object = caption.countedObject else { return [] }
            let count = caption.objects.count
            return [count - 1, count + 1].filter { (2...SceneCaption.maximumCount).contains($0) }
                .map { SceneCaption(count: $0, of: object) }
        case .relationFlipped:
            return caption.relation.map {
                [SceneCaption(caption.objects[0], $0.inverse, caption.objects[1])]
            } ?? []
        case .colorsExchanged:
            guard caption.objects.count == 2 else { return [] }
            let first = caption.objects[0], second = caption.objects[1]
            return [
                caption.replacingPair(
                    ObjectPhrase(first.kind, second.color), ObjectPhrase(second.kind, first.color))
            ]
        case .objectsExchanged:
            return caption.relation.map { [SceneCaption(caption.objects[1], $0, caption.objects[0])] } ?? []
        }
    }

    /// Captions with one phrase replaced. A counting caption has a single phrase.
    private static func replacingOneObject(
        _ caption: SceneCaption, _ replacements: (ObjectPhrase) -> [ObjectPhrase]
    ) -> [SceneCaption] {
        if let object = caption.countedObject {
            return replacements(object).map { SceneCaption(count: caption.objects.count, of: $0) }
        }
        guard caption.objects.count == 2 else {
            return replacements(caption.objects[0]).map { SceneCaption($0) }
        }
        let first = caption.objects[0], second = caption.objects[1]
        return replacements(first).map { caption.replacingPair($0, second) }
            + replacements(second).map { caption.replacingPair(first, $0) }
    }
}

extension SceneCaption {
    /// The caption with the same link ("and" or the relation) between two other objects.
    fileprivate func replacingPair(_ first: ObjectPhrase, _ second: ObjectPhrase) -> SceneCaption {
        relation.map { SceneCaption(first, $0, second) } ?? SceneCaption(first, and: second)
    }
}
