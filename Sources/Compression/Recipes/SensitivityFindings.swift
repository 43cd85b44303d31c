// SPDX-License-Identifier: Apache-2.0
// What the paper reads off a sensitivity table beside its correlations (arXiv:2406.04333, sections 3.2 and 3.3):
// which layers are the most sensitive, and how many have weights distributed symmetrically.

/// The layers that one measure finds the most sensitive.
public struct SensitivityRanking: Equatable, Encodable, Sendable {
    public let metric: SensitivityMetric
    /// The width at which layers were compared: the narrowest that was measured.
    public let bits: BitWidth
    /// Their paths, the most sensitive first.
    public let layers: [LayerID]
}

extension SensitivityTable {
    /// The narrowest width that some layer with a free choice was measured at; nil where none was.
    public var fewestBits: BitWidth? { freeLayers.flatMap(\.bits.keys).min() }

    /// The measures that some layer with a free choice has at `fewestBits`.
    public var metrics: [SensitivityMetric] {
        guard let width = fewestBits else { return [] }
        let measures = freeLayers.compactMap { $0.bits[width] }
        return SensitivityMetric.allCases.filter { metric in measures.contains { $0[metric] != nil } }
    }

    /// The layers with the largest sensitivity by `metric` at the narrowest width, the worst first; equal ones by path. The
    /// first and last convolution, whose width is fixed, do not take part, nor do layers without the measure.
    public func mostSensitiveLayers(
        _ count: Int, by metric: SensitivityMetric = .mse
    ) -> [LayerSensitivity] {
        guard let width = fewestBits else { return [] }
        let sign = metric.isWorseWhenLarger ? 1.0 : -1
        let measured = freeLayers.compactMap { layer in
            layer.bits[width]?[metric].map { (layer: layer, sensitivity: sign * $0) }
        }
        let sorted = measured.sorted { ($1.sensitivity, $0.layer.path) < ($0.sensitivity, $1.layer.path) }
        return sorted.prefix(max(count, 0)).map(\.layer)
    }

    /// The ten most sensitive layers by each of `metrics`.
    public var rankings: [SensitivityRanking] {
        guard let width = fewestBits else { return [] }
        return metrics.map { metric in
            SensitivityRanking(
                metric: metric, bits: width, layers: mostSensitiveLayers(10, by: metric).map(\.path))
        }
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
