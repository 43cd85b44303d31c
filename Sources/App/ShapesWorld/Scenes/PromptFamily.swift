// SPDX-License-Identifier: Apache-2.0
// The six task families of GenEval (Ghosh et al. 2023, arXiv:2310.11513), and all captions of each: 4 + 12 + 12 + 24 +
// 1488 + 360. As in GenEval, two objects always differ in kind, and two named colors always differ.

/// The task of a caption. The raw values are GenEval's tags.
public enum PromptFamily: String, CaseIterable, Hashable, Sendable, Codable, CodingKeyRepresentable {
    /// "a circle"
    case singleObject = "single_object"
    /// "a circle and a square"
    case twoObjects = "two_object"
    /// "three triangles"
    case counting
    /// "a red circle"
    case colors
    /// "a circle left of a square", "a red circle left of a blue square"
    case position
    /// "a red circle and a blue square"
    case colorAttribution = "color_attr"

    /// A short label for tables: `"color attribution"`.
    public var title: String {
        switch self {
        case .singleObject: "single object"
        case .twoObjects: "two objects"
        case .counting: "counting"
        case .colors: "colors"
        case .position: "position"
        case .colorAttribution: "color attribution"
        }
    }
}

/// The captions of the shapes world, by family.
public enum CaptionCatalog {
    /// Every caption of `family`, in a fixed order.
    public static func captions(of family: PromptFamily) -> [SceneCaption] {
        groups(of: family).flatMap { $0 }
    }

    /// A random caption of `family`: a random group of the family, then a random caption of the group.
    public static func draw(_ family: PromptFamily, using random: inout SceneRandom) -> SceneCaption {
        random.element(of: random.element(of: groups(of: family)))
    }

    /// The captions of `family` in groups that are drawn equally often. Only `position` has two groups: captions
    /// without colors, as in GenEval (48), and captions that name both colors (1440).
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
