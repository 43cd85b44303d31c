// SPDX-License-Identifier: Apache-2.0
// What the paper reads off a sensitivity table beside its correlations (arXiv:2406.04333, sections 3.2 and 3.3):
// which layers are the most sensitive, and how many have weights distributed symmetrically.

import Recipes

extension SensitivityTable {
    /// The narrowest width that some layer with a free choice was measured at; nil where none was.
    public var narrowestWidth: BitWidth? { freeLayers.flatMap(\.bits.keys).min() }

    /// The layers with the largest MSE at the narrowest width, largest first; equal ones by path. The first and last
    /// convolution, whose width is fixed, do not take part.
    public func mostSensitiveLayers(_ count: Int) -> [LayerSensitivity] {
        guard let width = narrowestWidth else { return [] }
        let measured = freeLayers.compactMap { layer in layer.bits[width]?.mse.map { (layer, $0) } }
        let sorted = measured.sorted { ($1.1, $0.0.path) < ($0.1, $1.0.path) }
        return sorted.prefix(max(count, 0)).map(\.0)
    }

    /// The share of all listed layers, 0...1, whose skewness is within [-limit, limit]; the paper finds 0.97 for
    /// limit 0.5. nil for a table without layers.
    public func symmetricShare(limit: Double = 0.5) -> Double? {
        guard !layers.isEmpty else { return nil }
        return Double(layers.count { abs($0.skewness) <= limit }) / Double(layers.count)
    }

    private var freeLayers: [LayerSensitivity] {
        layers.filter { LayerRole(of: $0.path) == .quantizable }
    }
}
