// SPDX-License-Identifier: Apache-2.0
// Errors in config.json and scheduler_config.json.

/// A config that is not valid or not supported. Values are JSON text.
public enum ConfigError: Error, Equatable, Sendable {
    /// The bytes are not a JSON object.
    case notAnObject(document: String)
    /// A key occurs twice; readers differ in the one that they take.
    case duplicateKey(document: String, key: String)
    /// The key or its value is not supported; diffusers may support it.
    case unsupported(key: String, value: String, supported: String)
    /// A required key is absent or null.
    case missing(key: String, neededBy: String)
    /// A list does not have the expected number of elements, one per block.
    case wrongCount(key: String, value: String, expected: Int)
    /// A number of channels is not a multiple of the value of another key.
    case indivisible(key: String, value: Int, divisorKey: String, divisor: Int)
    /// An error in one of several documents of a model.
    indirect case inDocument(String, ConfigError)
}

extension ConfigError {
    public var description: String {
        switch self {
        case .notAnObject(let document):
            "\(document): expected one JSON object; check the file"
        case .duplicateKey(let document, let key):
            "\(document): the key \(key.quoted) occurs twice; remove one"
        case .unsupported(let key, let value, let supported):
            "config key \(key): value \(value.shortened) is not supported; supported: \(supported)"
        case .missing(let key, let neededBy):
            "config key \(key): missing, but needed by \(neededBy); add it"
        case .wrongCount(let key, let value, let expected):
            "config key \(key): value \(value.shortened) must have \(expected) elements"
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
