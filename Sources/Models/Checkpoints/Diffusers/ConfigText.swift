// SPDX-License-Identifier: Apache-2.0
// Config files that a single file does not contain, as JSON texts.

import Files
import Foundation

/// A JSON value that is written as a Swift literal. Texts have no characters that JSON escapes.
enum ConfigValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case text(String)
    case list([ConfigValue])

    static func ints(_ values: [Int]) -> ConfigValue { .list(values.map { .int($0) }) }
    static func texts(_ values: [String]) -> ConfigValue { .list(values.map { .text($0) }) }

    /// The JSON text. Doubles have a decimal point or an exponent: transformers refuses the integer 1 for 1.0.
    var json: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .int(let value): "\(value)"
        case .double(let value): "\(value)"
        case .text(let value): JSONValue.string(value).description
        case .list(let values): "[" + values.map(\.json).joined(separator: ", ") + "]"
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
    static func json(_ members: [String: ConfigValue]) -> String {
        let lines = members.sorted { byBytes($0.key, $1.key) }.map { "  \"\($0.key)\": \($0.value.json)" }
        return "{\n" + lines.joined(separator: ",\n") + "\n}\n"
    }

    /// The number of groups of the group norms, which weights do not tell: 32 as in every published model, or as many
    /// as smaller ones can have.
    static func normGroups(_ channels: [Int]) -> Int {
        [32, 16, 8, 4, 2].first { groups in channels.allSatisfy { $0 % groups == 0 } } ?? 1
    }

    /// A `model_index.json` that names `components`, with further `settings`.
    static func modelIndex(
        _ className: String, _ components: [SourceComponent], _ settings: [String: ConfigValue] = [:]
    ) -> String {
        var members = settings
        members["_class_name"] = .text(className)
        for component in components {
            members[component.name] = [.text(DiffusersName.library(of: component.name)), .text(component.className)]
        }
        return json(members)
    }
}
