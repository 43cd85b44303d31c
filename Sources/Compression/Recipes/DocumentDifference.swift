// SPDX-License-Identifier: Apache-2.0
// Where two values differ, by the keys of their JSON form, so that a message can name a field of any type.

import Files
import Foundation

/// The first field that differs between two values, in the order of sorted keys.
struct DocumentDifference: Equatable {
    /// The path of keys to the field, such as `.prompts[3]`; empty for values without keys.
    let field: String
    /// The values of the field as text, `nothing` where one side has none.
    let expected, found: String

    /// Compares two values; nil where their JSON forms are equal or there is none.
    init?(between expected: some Encodable, and found: some Encodable) {
        guard let first = try? JSONValue(JSONEncoder().encode(expected)),
            let second = try? JSONValue(JSONEncoder().encode(found)),
            let difference = Self(first, second, field: "")
        else { return nil }
        self = difference
    }

    private init?(_ first: JSONValue?, _ second: JSONValue?, field: String) {
        guard first != second else { return nil }
        for (step, first, second) in Self.parts(first, second) {
            if let inner = Self(first, second, field: field + step) {
                self = inner
                return
            }
        }
        self.field = field
        (expected, found) = (Self.text(first), Self.text(second))
    }

    /// The parts of two objects or of two lists, side by side.
    private static func parts(_ first: JSONValue?, _ second: JSONValue?) -> [(String, JSONValue?, JSONValue?)] {
        if let first = first?.elements, let second = second?.elements {
            return (0..<max(first.count, second.count)).map { index in
                (
                    "[\(index)]", index < first.count ? first[index] : nil,
                    index < second.count ? second[index] : nil
                )
            }
        }
        guard let first, let second, let members = first.members, let others = second.members else { return [] }
        return Set((members + others).map(\.key)).sorted().map { (".\($0)", first[$0], second[$0]) }
    }

    private static func text(_ value: JSONValue?) -> String {
        switch value {
        case nil: "nothing"
        case .object: "an object"
        case .array: "a list"
        case .some(let value): value.description
        }
    }
}
