// SPDX-License-Identifier: Apache-2.0
// Config files that a single file does not contain, as JSON texts.

import Files
import Foundation

/// A JSON value that is written as a Swift literal.
enum ConfigValue: Encodable, Equatable, Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case text(String)
    case list([ConfigValue])

    static func ints(_ values: [Int]) -> ConfigValue { .list(values.map { .int($0) }) }
    static func texts(_ values: [String]) -> ConfigValue { .list(values.map { .text($0) }) }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .int(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .text(let value): try container.encode(value)
        case .list(let values): try container.encode(values)
        }
    }
}

extension ConfigValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral
{
    init(nilLiteral: ()) { self = .null }
    init(booleanLiteral value: Bool) { self = .bool(value) }
    init(integerLiteral value: Int) { self = .int(value) }
    init(floatLiteral value: Double) { self = .double(value) }
    init(stringLiteral value: String) { self = .text(value) }
    init(arrayLiteral elements: ConfigValue...) { self = .list(elements) }
}

/// Texts of config files.
enum ConfigText {
    /// JSON with sorted keys and a line break at the end, as diffusers writes it.
    static func json(_ members: [String: ConfigValue]) throws -> String {
        String(decoding: try JSONEncoder.document.encode(members), as: UTF8.self) + "\n"
    }

    /// The number of groups of the group norms, which weights do not tell: 32 as in every published model, or as many
    /// as smaller ones can have.
    static func normGroups(_ channels: [Int]) -> Int {
        [32, 16, 8, 4, 2].first { groups in channels.allSatisfy { $0 % groups == 0 } } ?? 1
    }

    /// A `model_index.json` that names `components`, with further `settings`.
    static func modelIndex(
        _ className: String, _ components: [SourceComponent], _ settings: [String: ConfigValue] = [:]
    ) throws -> String {
        var members = settings
        members["_class_name"] = .text(className)
        for component in components {
            let library = component.name.hasPrefix("text_encoder") ? "transformers" : "diffusers"
            members[component.name] = [.text(library), .text(component.className)]
        }
        return try json(members)
    }
}
