// SPDX-License-Identifier: Apache-2.0
// Denoiser architectures by the `_class_name` of their config.json. A program registers further ones at its start; the
// rest of the library then reads, analyzes, quantizes, trains and samples them.

import Files
import Foundation
import Synchronization

/// The architectures that models can be opened with.
public enum DenoiserRegistry {
    /// Reads and validates a config.json; throws `ConfigError`.
    public typealias ConfigReader = @Sendable (_ json: Data) throws -> any DenoiserConfig

    /// diffusers' class for a UNet config that names none.
    private static let defaultArchitecture = UNet2DConditionConfig.architecture

    private static let readers = Mutex<[String: ConfigReader]>([
        UNet2DConditionConfig.architecture: { try UNet2DConditionConfig(json: $0) }
    ])

    /// Makes `architecture` available; a second registration replaces the first.
    public static func register(_ architecture: String, _ reader: @escaping ConfigReader) {
        readers.withLock { $0[architecture] = reader }
    }

    /// The config in `json`, as its `_class_name` reads it; a config without one is a UNet's.
    ///
    /// - Throws: `ConfigError.unsupported` for an architecture that is not registered, and what its reader throws.
    public static func config(json: Data) throws -> any DenoiserConfig {
        try reader(ConfigDocument(json)?.className ?? defaultArchitecture)(json)
    }

    /// The config in the text `json`.
    ///
    /// - Throws: as `config(json:)` for bytes.
    public static func config(json: String) throws -> any DenoiserConfig { try config(json: Data(json.utf8)) }

    /// The config of the class `architecture`, as a model file's header names it.
    ///
    /// - Throws: as `config(json:)`.
    public static func config(architecture: String, json: String) throws -> any DenoiserConfig {
        try reader(architecture)(Data(json.utf8))
    }

    /// Whether `json` is not an object, or an object with a class or a key of a denoiser's config. Without these,
    /// the config would be read as that of a UNet with default values.
    public static func mayBeConfig(_ json: Data) -> Bool {
        guard let keys = ConfigDocument(json)?.keys else { return true }
        return !keys.isDisjoint(with: ["_class_name", "block_out_channels", "down_block_types", "in_channels"])
    }

    private static func reader(_ name: String) throws(ConfigError) -> ConfigReader {
        let (reader, known) = readers.withLock { ($0[name], $0.keys.sorted()) }
        guard let reader else {
            throw .unsupported(
                key: "_class_name", value: "\"\(name)\"", supported: known.map { "\"\($0)\"" }.joined(separator: ", "))
        }
        return reader
    }
}

/// A config.json of any architecture, compared by value.
struct ConfigDocument: Equatable {
    private let value: JSONValue

    /// nil where `json` is not JSON.
    init?(_ json: Data) {
        guard let value = try? JSONValue(parsing: json, name: "config.json") else { return nil }
        self.value = value
    }

    /// The keys of an object; nil for other values.
    var keys: Set<String>? { value.members.map { Set($0.map(\.key)) } }

    /// The text of `_class_name`, where there is one.
    var className: String? {
        value["_class_name"]?.text
    }
}
