// SPDX-License-Identifier: Apache-2.0
//
// Every caption that the data set draws, listed: 4 + 12 + 12 + 24 + 1488 + 360. As in GenEval, two objects
// always differ in kind, and two named colours always differ.

/// The captions of the shapes world, by family.
public enum CaptionCatalog {
    /// Every caption of `family`, in a fixed order.
    public static func captions(of family: PromptFamily) -> [SceneCaption] {
        groups(of: family).flatMap { $0 }
    }

    /// A caption of `family`: a group of the family at random, then one of its captions at random.
    public static func draw(_ family: PromptFamily, using random: inout SceneRandom) -> SceneCaption {
        random.element(of: random.element(of: groups(of: family)))
    }

    /// The captions of `family` in groups that are drawn equally often. Only `position` has two: without
    /// colours as in GenEval (48 captions), and with both colours named (1440).
    static func groups(of family: PromptFamily) -> [[SceneCaption]] {
        switch family {
        case .singleObject: singleObject
        case .twoObjects: twoObjects
        case .counting: counting
        case .colors: colors
        case .position: position
        case .colorAttribution: colorAttribution
        }
    }

    private static let singleObject = [ShapeKind.allCases.map { SceneCaption(ObjectPhrase($0)) }]

    private static let twoObjects = [plainPairs.map { SceneCaption($0, and: $1) }]

    private static let counting = [
        (2...SceneCaption.maximumCount).flatMap { count in
            ShapeKind.allCases.map { SceneCaption(count: count, of: ObjectPhrase($0)) }
        }
    ]

    private static let colors = [coloredObjects.map { SceneCaption($0) }]

    private static let position = [plainPairs, coloredPairs].map { pairs in
        Relation.allCases.flatMap { relation in pairs.map { SceneCaption($0, relation, $1) } }
    }

    private static let colorAttribution = [coloredPairs.map { SceneCaption($0, and: $1) }]

    private static let coloredObjects = ShapeColor.allCases.flatMap { color in
        ShapeKind.allCases.map { ObjectPhrase($0, color) }
    }

    private static let plainPairs = pairs(of: ShapeKind.allCases.map { ObjectPhrase($0) })
    private static let coloredPairs = pairs(of: coloredObjects)

    private static func pairs(of objects: [ObjectPhrase]) -> [(ObjectPhrase, ObjectPhrase)] {
        objects.flatMap { first in
            objects.filter { second in
                first.kind != second.kind && (first.color == nil || first.color != second.color)
            }.map { (first, $0) }
        }
    }
}
