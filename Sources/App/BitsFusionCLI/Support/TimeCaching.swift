// SPDX-License-Identifier: Apache-2.0
// `--cached-steps`: the inference steps whose time features a packed model keeps in place of its time layers.

import ArgumentParser
import BitsFusion

extension TimeFeatureStorage {
    /// The storage that `cachedSteps` stands for: 0 keeps the layers, as does every model whose time features cannot be
    /// cached.
    init(cachedSteps: Int, of inventory: ModelInventory) {
        self = cachedSteps == 0 || !inventory.cachesTimeFeatures ? .layersKept : .cached(steps: cachedSteps)
    }
}

/// The steps that are cached unless the command line or the recipe says otherwise: the paper's.
let defaultCachedSteps = 50

/// Checks `--cached-steps`.
///
/// - Throws: `ValidationError`.
func validateCachedSteps(_ steps: Int?) throws {
    if let steps, !(0...1000).contains(steps) {
        throw ValidationError("--cached-steps: expected 0 to 1000, found \(steps)")
    }
}
