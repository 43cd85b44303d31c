// SPDX-License-Identifier: Apache-2.0
// Reads typed values of a config object, records the keys that were read, and rejects all others. An absent key means
// the default of diffusers; null means the default only for some keys.

import Foundation

/// Reads the values of a config object.
package struct ConfigReader {
    private let members: [String: JSONValue]
    private let nullable: Set<String>
    private var known: Set<String> = []

    /// A reader of `document`, which has the name `name` in errors. null means the default for the keys `nullable`.
    ///
    /// - Throws: `ConfigError.notAnObject`.
    package init(_ document: JSONValue, name: String, nullable: Set<String>) throws(ConfigError) {
        guard let members = document.members else { throw .notAnObject(document: name) }
        self.members = Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.value) })
        self.nullable = nullable
    }

    /// The value of `key`; nil if it is absent or null.
    package mutating func value(_ key: String) -> JSONValue? {
        known.insert(key)
        return members[key] == .null ? nil : members[key]
    }

    /// Whether the key is present and null.
    package func isNull(_ key: String) -> Bool {
        members[key] == .null
    }

    /// The value of `key`, or the default if it is absent or null.
    package mutating func bool(_ key: String, default defaultValue: Bool) throws(ConfigError) -> Bool {
        guard let value = value(key) else { return defaultValue }
        guard case .bool(let flag) = value else { throw unsupported(key, value, "true, false") }
        return flag
    }

    /// An integer in `range`; nil if the key is absent or null.
    package mutating func integer(_ key: String, in range: ClosedRange<Int> = 1...Int.max) throws(ConfigError) -> Int? {
        guard let value = value(key) else { return nil }
        guard let integer = value.integer, range.contains(integer) else {
            let upper = range.upperBound == .max ? "" : " up to \(range.upperBound)"
            throw unsupported(key, value, "integers from \(range.lowerBound)\(upper)")
        }
        return integer
    }

    /// A finite number for which `isValid` is true; nil if the key is absent or null. `wanted` describes valid numbers
    /// in errors.
    package mutating func number(
        _ key: String, _ wanted: String = "finite numbers", where isValid: (Double) -> Bool = { _ in true }
    ) throws(ConfigError) -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = value.double, number.isFinite, isValid(number) else {
            throw unsupported(key, value, wanted)
        }
        return number
    }

    /// A string; nil if the key is absent or null.
    package mutating func string(_ key: String) throws(ConfigError) -> String? {
        guard let value = value(key) else { return nil }
        guard case .string(let string) = value else { throw unsupported(key, value, "strings") }
        return string
    }

    /// A case of `Choice`; nil if the key is absent or null.
    package mutating func choice<Choice: RawRepresentable & CaseIterable>(
        _ key: String, as type: Choice.Type
    ) throws(ConfigError) -> Choice? where Choice.RawValue == String {
        guard let value = value(key) else { return nil }
        guard case .string(let name) = value, let choice = Choice(rawValue: name) else {
            throw unsupported(
                key, value, Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))
        }
        return choice
    }

    /// A non-empty list; nil if the key is absent or null.
    package mutating func list(_ key: String) throws(ConfigError) -> [JSONValue]? {
        guard let value = value(key) else { return nil }
        guard case .array(let elements) = value, !elements.isEmpty else {
            throw unsupported(key, value, "non-empty lists")
        }
        return elements
    }

    /// The values of `count` blocks: one value for all blocks, or a list with one element per block.
    package mutating func perBlock<Element>(
        _ key: String, count: Int, default defaultValue: Element, _ wanted: String,
        _ element: (JSONValue) -> Element?
    ) throws(ConfigError) -> [Element] {
        guard let value = value(key) else { return [Element](repeating: defaultValue, count: count) }
        guard case .array(let elements) = value else {
            guard let one = element(value) else { throw unsupported(key, value, wanted) }
            return [Element](repeating: one, count: count)
        }
        guard elements.count == count else {
            throw .wrongCount(key: key, value: value.description, expected: count)
        }
        var result: [Element] = []
        for one in elements {
            guard let one = element(one) else {
                throw unsupported(key, value, wanted + ", or a list of these")
            }
            result.append(one)
        }
        return result
    }

    /// Checks that `key` has no effect: it is absent, null, or one of `inert`.
    package mutating func mustBeDefault(_ key: String, _ inert: JSONValue...) throws(ConfigError) {
        guard let value = value(key), !inert.contains(value) else { return }
        throw unsupported(
            key, value, (inert.isEmpty ? [.null] : inert).map(\.description).joined(separator: ", "))
    }

    /// Checks that all keys have been read, except keys with a leading "_", which diffusers adds as metadata, and that
    /// no key is null unless null means the default.
    ///
    /// - Throws: `ConfigError.unsupported`.
    package func finish() throws(ConfigError) {
        if let key = known.subtracting(nullable).filter({ isNull($0) && !$0.hasPrefix("_") }).min() {
            throw unsupported(key, .null, "a value; null has no meaning here")
        }
        let unknown = members.keys.filter { !known.contains($0) && !$0.hasPrefix("_") }.sorted()
        guard let key = unknown.first, let value = members[key] else { return }
        throw unsupported(key, value, "this key is unknown; remove it")
    }

    /// The error for a value of `key`; `supported` describes the supported values.
    package func unsupported(_ key: String, _ value: JSONValue, _ supported: String) -> ConfigError {
        .unsupported(key: key, value: value.description, supported: supported)
    }
}

extension Data {
    /// The bytes after UTF-8's byte order mark, which some editors put first; all bytes without one.
    package var withoutByteOrderMark: Data { starts(with: [0xEF, 0xBB, 0xBF] as [UInt8]) ? Data(dropFirst(3)) : self }
}

extension JSONValue {
    /// Parses the bytes of a config file, with or without a byte order mark. `NaN` and `Infinity` are valid, because
    /// diffusers writes them to scheduler configs.
    ///
    /// - Throws: `ConfigError.notAnObject`, `.duplicateKey`.
    package init(parsing json: Data, name: String) throws(ConfigError) {
        do throws(JSONFault) {
            try self.init(json.withoutByteOrderMark, allowsNonFinite: true)
        } catch .duplicateKey(let key) {
            throw .duplicateKey(document: name, key: key)
        } catch {
            throw .notAnObject(document: name)
        }
    }
}
