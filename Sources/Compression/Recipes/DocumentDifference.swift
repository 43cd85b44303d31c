// SPDX-License-Identifier: Apache-2.0
// Where two parts of a document differ, by the keys of their JSON form, so that a message can name a field of any type.

import Foundation

/// The first field that differs between two values, in the order of sorted keys.
struct DocumentDifference: Equatable {
    /// The keys that lead there, such as `.prompts[3]`; empty for values without keys.
    let field: String
    /// The values there as text, `nothing` where one side has none.
    let expected, found: String

    /// Compares two values; nil where their JSON forms are equal or there is none.
    init?(between expected: some Encodable, and found: some Encodable) {
        guard let first = try? DocumentTree(of: expected), let second = try? DocumentTree(of: found),
            let difference = Self(first, second, field: "")
        else { return nil }
        self = difference
    }

    private init?(_ first: DocumentTree?, _ second: DocumentTree?, field: String) {
        guard first != second else { return nil }
        // Equal texts of unequal values: both are objects, or both are lists.
        if let first, let second, first.text == second.text {
            for step in Set(first.parts.keys).union(second.parts.keys).sorted() {
                if let inner = Self(first.parts[step], second.parts[step], field: field + step.text) {
                    self = inner
                    return
                }
            }
        }
        self.field = field
        (expected, found) = (first?.text ?? "nothing", second?.text ?? "nothing")
    }
}

/// The JSON form of a value: parts by key or index, or text that stands for a number, a string, true, false or null.
private struct DocumentTree: Equatable, Decodable {
    enum Step: Hashable, Comparable {
        case key(String)
        case index(Int)

        var text: String {
            switch self {
            case .key(let key): ".\(key)"
            case .index(let index): "[\(index)]"
            }
        }
    }

    private(set) var parts: [Step: DocumentTree] = [:]
    let text: String

    init(of value: some Encodable) throws {
        self = try JSONDecoder().decode(Self.self, from: JSONEncoder().encode(value))
    }

    init(from decoder: any Decoder) throws {
        if let container = try? decoder.container(keyedBy: DocumentKey.self) {
            for key in container.allKeys {
                parts[.key(key.stringValue)] = try container.decode(Self.self, forKey: key)
            }
            text = "an object"
        } else if var container = try? decoder.unkeyedContainer() {
            while !container.isAtEnd {
                parts[.index(container.currentIndex)] = try container.decode(Self.self)
            }
            text = "a list"
        } else {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                text = "null"
            } else if let flag = try? container.decode(Bool.self) {
                text = "\(flag)"
            } else if let number = try? container.decode(UInt64.self) {
                text = "\(number)"
            } else if let number = try? container.decode(Double.self) {
                text = "\(number)"
            } else {
                text = "\"\(try container.decode(String.self))\""
            }
        }
    }
}
