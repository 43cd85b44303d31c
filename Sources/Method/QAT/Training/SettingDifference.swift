// SPDX-License-Identifier: Apache-2.0
// The settings in which two runs differ, from their JSON documents, so that an error names them and nothing else.

import Files
import Foundation

/// A setting that two runs have different values of.
public struct SettingDifference: Equatable, Sendable {
    /// The keys down to the setting, with dots between them, such as `options.training.learningRate`.
    public let key: String
    /// The value of the saved run, as JSON; "none" where it has no such setting.
    public let saved: String
    /// The value of the requested run.
    public let requested: String

    public init(key: String, saved: String, requested: String) {
        self.key = key
        self.saved = saved
        self.requested = requested
    }
}

extension SettingDifference {
    /// The differences of two documents in the order of their keys; of texts that are not JSON, the texts themselves
    /// under the key "configuration".
    static func between(_ saved: String, _ requested: String) -> [SettingDifference] {
        guard saved != requested else { return [] }
        guard let old = try? JSONValue(Array(saved.utf8)), let new = try? JSONValue(Array(requested.utf8)) else {
            return [SettingDifference(key: "configuration", saved: saved, requested: requested)]
        }
        var found: [SettingDifference] = []
        compare(old, new, at: "", &found)
        return found.sorted { $0.key < $1.key }
    }

    /// Up to four settings, and the number of the others, for an error.
    public static func listed(_ differences: [SettingDifference]) -> String {
        func shortened(_ text: String) -> String { text.count > 60 ? text.prefix(57) + "..." : text }
        let shown = differences.prefix(4).map { "\($0.key) \(shortened($0.saved)), not \(shortened($0.requested))" }
        let rest = differences.count - shown.count
        return shown.joined(separator: "; ") + (rest > 0 ? "; and \(rest) other settings" : "")
    }

    /// The differences of two values that are written as JSON.
    public static func between(_ saved: some Encodable, _ requested: some Encodable) throws -> [SettingDifference] {
        func text(_ value: some Encodable) throws -> String {
            String(decoding: try JSONEncoder.compact.encode(value), as: UTF8.self)
        }
        return between(try text(saved), try text(requested))
    }

    private static func compare(
        _ saved: JSONValue?, _ requested: JSONValue?, at key: String, _ found: inout [SettingDifference]
    ) {
        if saved == requested { return }
        if let old = saved?.members, let new = requested?.members {
            for name in Set(old.map(\.key) + new.map(\.key)) {
                compare(saved?[name], requested?[name], at: key.isEmpty ? name : "\(key).\(name)", &found)
            }
            return
        }
        found.append(
            SettingDifference(
                key: key.isEmpty ? "configuration" : key, saved: saved?.description ?? "none",
                requested: requested?.description ?? "none"))
    }
}
