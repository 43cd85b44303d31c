// SPDX-License-Identifier: Apache-2.0
// Errors of parameters that a model requests from its provider by key.

import Files

/// A requested parameter that is missing or has another shape.
public enum ParameterError: Error, Equatable, Sendable {
    /// The provider has no value for `key`.
    case missing(key: String)
    /// The provider has `key`, but the model's layer needs another shape.
    case shapeMismatch(key: String, expected: [Int], found: [Int])
}

extension ParameterError {
    public var description: String {
        switch self {
        case .missing(let key):
            "parameter \(named(key)): missing; check that the weights belong to this config.json"
        case .shapeMismatch(let key, let expected, let found):
            "parameter \(named(key)): expected shape \(expected), found \("\(found)".shortened); "
                + "check that the weights belong to this config.json"
        }
    }
}

extension ParameterError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
