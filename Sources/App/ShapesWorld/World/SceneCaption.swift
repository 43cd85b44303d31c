// SPDX-License-Identifier: Apache-2.0
//
// A caption as structure: exactly which objects an image must show, and how the first lies to the second.
// The sentence is derived from the structure, and SceneCaption+Parsing.swift goes the other way.

/// One object that a caption asks for: a kind, and a colour where the caption names one.
public struct ObjectPhrase: Hashable, Sendable {
    public let kind: ShapeKind
    /// nil where any colour will do.
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

/// What an image must show: these objects, no others, in this relation.
public struct SceneCaption: Hashable, Sendable {
    /// 1...4 objects; in a caption with a relation, exactly 2.
    public let objects: [ObjectPhrase]
    /// How `objects[0]` lies to `objects[1]`; nil where the arrangement is free.
    public let relation: Relation?
    /// The sentence, in lower case: `"a red circle left of a blue square"`.
    public let text: String

    /// The most objects that a caption may ask for.
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
