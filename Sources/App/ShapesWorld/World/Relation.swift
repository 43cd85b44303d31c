// SPDX-License-Identifier: Apache-2.0
//
// The four spatial relations. x points right, y points down, both in pixels.

/// How the first object of a caption lies to the second: "a circle *left of* a square".
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

    /// Whether a first object whose centre lies at `offset` = first - second is in this relation.
    ///
    /// The offset must reach at least `margin` pixels in the relation's direction and be `dominance` times
    /// larger in that direction than across it. With `dominance` >= 1 and `margin` > 0 at most one of the four
    /// relations holds.
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
