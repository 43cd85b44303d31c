// SPDX-License-Identifier: Apache-2.0
// Invalid settings of a training run, named by their key in the configuration file.

import Files
import Schedulers

/// A training configuration that is not valid.
public enum TrainingConfigError: CategorizedError, Equatable {
    /// The value of `key` is outside its range.
    case range(key: String, value: String, expected: String)
    /// The model's own config does not suit the training data.
    case unsuitableModel(key: String, value: String, expected: String)

    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .range(let key, let value, let expected):
            "training config: \(key) is \(value), expected \(expected)"
        case .unsuitableModel(let key, let value, let expected):
            "training config: the UNet's \(key) is \(value), expected \(expected)"
        }
    }
}

extension TimestepDistribution {
    /// - Throws: `TrainingConfigError.range`, naming the key.
    public func validate() throws(TrainingConfigError) {
        guard let (name, value) = invalidParameter else { return }
        throw .range(key: "timesteps.\(name)", value: "\(value)", expected: "a positive number")
    }
}
