// SPDX-License-Identifier: Apache-2.0
// Layers of UNets in documents, with role and group as their paths give them.

import Networks
import Recipes

extension LayerShape {
    /// Describes one layer of a UNet.
    public init(path: LayerID, kind: Kind, shape: [Int], hasBias: Bool) {
        let policy = UNetLayerPolicy()
        self.init(
            path: path, kind: kind, shape: shape, hasBias: hasBias, role: policy.role(ofLayer: path.rawValue),
            group: policy.group(ofLayer: path.rawValue))
    }
}

extension LayerSensitivity {
    /// Records one layer of a UNet.
    public init(
        path: LayerID, kind: LayerShape.Kind, weights: Int, skewness: Double, bits: [BitWidth: SensitivityScores]
    ) {
        let policy = UNetLayerPolicy()
        self.init(
            path: path, kind: kind, role: policy.role(ofLayer: path.rawValue),
            group: policy.group(ofLayer: path.rawValue), weights: weights, skewness: skewness, bits: bits)
    }
}
