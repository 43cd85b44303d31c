// SPDX-License-Identifier: Apache-2.0
// A caption as structure: the objects that an image must show, and the spatial relation between two of them. The
// sentence is derived from the structure; SceneCaption+Parsing.swift does the inverse. x points right, y points down,
// both in pixels.

/// One object that a caption asks for: a kind, and a color if the caption names one.
public struct ObjectPhrase: Hashable, Sendable {
    public let kind: ShapeKind
    /// nil: any color.
    public let color: ShapeColor?

    /// "a `color` `kind`".
    public init(_ kind: ShapeKind, _ color: ShapeColor? = nil) {
        self.kind = kind
        self.color = color
    }

    /// Whether one drawn object can satisfy both phrases.
    func isCompatible(with other: ObjectPhrase) -> Bool {
        kind == other.kind && (color == nil || other.color == nil || color == other.color)
    }
}

extension ObjectPhrase: CustomStringConvertible {
    public var description: String {
        (["a"] + (color.map { [$0.word] } ?? []) + [kind.noun]).joined(separator: " ")
    }
}

/// The objects that an image must show, no others, and their relation.
public struct SceneCaption: Hashable, Sendable {
    /// 1...4 objects; exactly 2 in a caption with a relation.
    public let objects: [ObjectPhrase]
    /// The relation of `objects[0]` to `objects[1]`; nil if any arrangement is accepted.
    public let relation: Relation?
    /// The sentence, in lower case: `"a red circle left of a blue square"`.
    public let text: String

    /// The largest number of objects of a caption.
    public static let maximumCount = 4
    /// The words for 2, 3 and 4.
    static let countWords = ["two", "three", "four"]

    /// "a circle", "a red circle".
    public init(_ object: ObjectPhrase) {
        self.init(objects: [object], relation: nil)
    }

    /// "a circle and a square"; two equal objects read "two circles".
    public init(_ first: ObjectPhrase, and second: ObjectPhrase) {
        self.init(objects: [first, second], relation: nil)
    }

    /// "a circle left of a square".
    public init(_ first: ObjectPhrase, _ relation: Relation, _ second: ObjectPhrase) {
        self.init(objects: [first, second], relation: relation)
    }

    /// "three circles".
    ///
    /// - Precondition: `count` is in 1...4.
    public init(count: Int, of object: ObjectPhrase) {
        precondition(
            (1...Self.maximumCount).contains(count),
            "SceneCaption: count \(count) is not in 1...\(Self.maximumCount)")
        self.init(objects: Array(repeating: object, count: count), relation: nil)
    }

    private init(objects: [ObjectPhrase], relation: Relation?) {
        self.objects = objects
        self.relation = relation
        text = Self.sentence(objects, relation)
    }

    /// The family that the sentence belongs to.
    public var family: PromptFamily {
        if relation != nil { return .position }
        if objects.count == 1 { return objects[0].color == nil ? .singleObject : .colors }
        if countedObject != nil { return .counting }
        return objects.contains { $0.color != nil } ? .colorAttribution : .twoObjects
    }

    /// The phrase that a counting caption repeats, nil for all other captions.
    var countedObject: ObjectPhrase? {
        relation == nil && objects.count > 1 && objects.allSatisfy { $0 == objects[0] } ? objects[0] : nil
    }

    /// Whether no image can satisfy both captions, given that two objects are in at most one relation.
    public func contradicts(_ other: SceneCaption) -> Bool {
        guard objects.count == other.objects.count else { return true }
        return Assignment.first(count: objects.count) { assignment in
            for (index, object) in objects.enumerated()
            where !object.isCompatible(with: other.objects[assignment[index]]) {
                return false
            }
            guard let relation, let otherRelation = other.relation else { return true }
            return relation == (assignment[0] == 0 ? otherRelation : otherRelation.inverse)
        } == nil
    }

    private static func sentence(_ objects: [ObjectPhrase], _ relation: Relation?) -> String {
        let first = objects[0]
        guard objects.count > 1 else { return first.description }
        if let relation { return "\(first) \(relation) \(objects[1])" }
        if objects.allSatisfy({ $0 == first }) {
            let color = first.color.map { $0.word + " " } ?? ""
            return "\(countWords[objects.count - 2]) \(color)\(first.kind.plural)"
        }
        return "\(first) and \(objects[1])"
    }
}

extension SceneCaption: CustomStringConvertible {
    public var description: String { text }
}

/// The position of the first object of a caption relative to the second: "a circle *left of* a square".
public enum Relation: Int, CaseIterable, Hashable, Sendable {
    case leftOf, rightOf, above, below

    /// The words of the relation, in order: `["left", "of"]`, `["above"]`.
    public var words: [String] {
        switch self {
        case .leftOf: ["left", "of"]
        case .rightOf: ["right", "of"]
        case .above: ["above"]
        case .below: ["below"]
        }
    }

    /// The relation of the second object to the first: left of <-> right of, above <-> below.
    public var inverse: Relation {
        switch self {
        case .leftOf: .rightOf
        case .rightOf: .leftOf
        case .above: .below
        case .below: .above
        }
    }

    /// Whether two objects whose centers differ by `offset` = first - second are in this relation.
    ///
    /// The offset in the relation's direction must be at least `margin` pixels, and larger than `dominance` times the
    /// offset across it. With `dominance` >= 1 and `margin` > 0, at most one of the four relations holds.
    func holds(offset: SIMD2<Float>, margin: Float, dominance: Float = 1) -> Bool {
        let along: Float
        let across: Float
        switch self {
        case .leftOf: (along, across) = (-offset.x, offset.y)
        case .rightOf: (along, across) = (offset.x, offset.y)
        case .above: (along, across) = (-offset.y, offset.x)
        case .below: (along, across) = (offset.y, offset.x)
        }
        return along >= margin && along > dominance * abs(across)
    }
}

extension Relation: CustomStringConvertible {
    public var description: String { words.joined(separator: " ") }
}

/// Exhaustive search over the one-to-one assignments of at most four items.
enum Assignment {
    /// Entry n holds every permutation of 0..<n, the identity first.
    private static let permutations: [[[Int]]] = (0...SceneCaption.maximumCount).map { count in
        (0..<count).reduce([[]]) { partial, _ in
            partial.flatMap { taken in (0..<count).filter { !taken.contains($0) }.map { taken + [$0] } }
        }
    }

    /// The first permutation p of 0..<`count` that `isAccepted` returns true for; item i is assigned to p[i].
    static func first(count: Int, where isAccepted: ([Int]) -> Bool) -> [Int]? {
        permutations[count].first(where: isAccepted)
    }
}
