// SPDX-License-Identifier: Apache-2.0
// All values of a model, for comparisons bit by bit.

import Layers
import Pipelines
import Tensors

extension ParameterStore {
    /// Every trainable leaf's bits by name, scales included.
    public var bits: [String: [UInt32]] {
        Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.value.values.map(\.bitPattern)) })
    }
}

extension DiffusionPipeline {
    /// What every layer computes with, by key, quantized or not; text encoder's keys behind "text.".
    public var seenBits: [String: [UInt32]] {
        var result: [String: [UInt32]] = [:]
        for (prefix, component) in zip(["", "text."], components) {
            for entry in component.store.entries {
                result[prefix + entry.key] = withoutGradients {
                    entry.source.tensor().values.map(\.bitPattern)
                }
            }
        }
        return result
    }
}
