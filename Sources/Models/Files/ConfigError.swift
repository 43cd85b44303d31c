// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a config.json or scheduler_config.json.

/// A config that cannot be followed. Values are given as JSON text.
public enum ConfigError: Error, Equatable, Sendable {
    /// The bytes are not a JSON object.
    case notAnObject(document: String)
    /// diffusers may know this key and value, this library does not.
    case unsupported(key: String, value: String, supported: String)
    /// The key is needed and absent (or null).
    case missing(key: String, neededBy: String)
    /// A list does not have one element per block.
    case wrongCount(key: String, value: String, expected: Int)
    /// Channels that cannot be split evenly.
    case indivisible(key: String, value: Int, divisorKey: String, divisor: Int)
    /// An error in one of several documents of a model.
    indirect case inDocument(String, ConfigError)
}

extension ConfigError {
    public var description: String {
        switch self {
        case .notAnObject(let document):
            "\(document): expected one JSON object; check the file"
        case .unsupported(let key, let value, let supported):
            "config key \(key): value \(value) is not supported; supported: \(supported)"
        case .missing(let key, let neededBy):
            "config key \(key): missing, but needed by \(neededBy); add it"
        case .wrongCount(let key, let value, let expected):
            "config key \(key): value \(value) must have \(expected) elements"
        case .indivisible(let key, let value, let divisorKey, let divisor):
            "config key \(key): \(value) is not a multiple of \(divisorKey) \(divisor); change one of them"
        case .inDocument(let document, let error):
            "\(document): \(error.description)"
        }
    }
}

extension ConfigError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
