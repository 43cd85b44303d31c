// SPDX-License-Identifier: Apache-2.0
// The paper's findings on a sensitivity table besides its correlations (arXiv:2406.04333, sections 3.2 and 3.3): the
// most sensitive layers, the sums over groups of layers, and the share of layers with symmetrically distributed
// weights.

/// The most sensitive layers by one metric.
public struct SensitivityRanking: Equatable, Encodable, Sendable {
    public let metric: SensitivityMetric
    /// The bits at which layers were compared: the fewest measured ones.
    public let bits: BitWidth
    /// Their paths, the most sensitive first.
    public let layers: [LayerID]
}

/// The layers of one group, and the sums of their scores.
public struct SensitivitySum: Equatable, Encodable, Sendable {
    /// The sum of one score over the layers that have it.
    public struct Total: Equatable, Encodable, Sendable {
        /// The number of layers with the score.
        public let layers: Int
        public let sum, mean: Double
    }

    public let group: LayerGroup
    /// The number of listed layers.
    public let layers: Int
    /// The number of their weights.
    public let weights: Int
    /// Their share of the weights of all listed layers, 0...1.
    public let weightShare: Double
    /// The totals by bits and metric; without metrics that no layer has.
    public let bits: [BitWidth: [SensitivityMetric: Total]]

    enum CodingKeys: String, CodingKey {
        case group, layers, weights, weightShare, bits
    }

    /// Writes `{"group", "layers", "weights", "weightShare", "bits": {"1": {"mse": {"layers", "mean", "sum"}}}}`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(group, forKey: .group)
        try container.encode(layers, forKey: .layers)
        try container.encode(weights, forKey: .weights)
        try container.encode(weightShare, forKey: .weightShare)
        var byBits = container.nestedContainer(keyedBy: DocumentKey.self, forKey: .bits)
        for (nominalBits, totals) in bits {
            var metrics = byBits.nestedContainer(
                keyedBy: DocumentKey.self, forKey: DocumentKey("\(nominalBits)"))
            for (metric, total) in totals {
                try metrics.encode(total, forKey: DocumentKey(metric.rawValue))
            }
        }
    }

    fileprivate init(_ group: LayerGroup, _ groupLayers: [LayerSensitivity], allWeights: Int) {
        self.group = group
        layers = groupLayers.count
        weights = groupLayers.reduce(0) { $0 + $1.weights }
        weightShare = Double(weights) / Double(allWeights)
        var totals: [BitWidth: [SensitivityMetric: Total]] = [:]
        for nominalBits in Set(groupLayers.flatMap(\.bits.keys)) {
            for metric in SensitivityMetric.allCases {
                let values = groupLayers.compactMap { $0.bits[nominalBits]?[metric] }
                let sum = values.reduce(0, +)
                guard !values.isEmpty, sum.isFinite else { continue }
                totals[nominalBits, default: [:]][metric] = Total(
                    layers: values.count, sum: sum, mean: sum / Double(values.count))
            }
        }
        bits = totals
    }
}

extension SensitivityTable {
    /// The fewest bits at which a layer with a free choice was measured; nil without measurements.
    public var fewestBits: BitWidth? { freeLayers.flatMap(\.bits.keys).min() }

    /// The metrics of the scores that layers with a free choice have at `fewestBits`.
    public var metrics: [SensitivityMetric] {
        guard let fewestBits else { return [] }
        let measurements = freeLayers.compactMap { $0.bits[fewestBits] }
        return SensitivityMetric.allCases.filter { metric in measurements.contains { $0[metric] != nil } }
    }

    /// The layers with the worst scores by `metric` at the fewest bits, the worst first; layers with equal scores by
    /// path. The first and last convolution, whose bits are fixed, and layers without the score are left out.
    public func mostSensitiveLayers(
        _ count: Int, by metric: SensitivityMetric = .mse
    ) -> [LayerSensitivity] {
        guard let fewestBits else { return [] }
        let sign = metric.isWorseWhenLarger ? 1.0 : -1
        let measured = freeLayers.compactMap { layer in
            layer.bits[fewestBits]?[metric].map { (layer: layer, error: sign * $0) }
        }
        let sorted = measured.sorted { ($1.error, $0.layer.path) < ($0.error, $1.layer.path) }
        return sorted.prefix(max(count, 0)).map(\.layer)
    }

    /// The ten most sensitive layers by each of `metrics`.
    public var rankings: [SensitivityRanking] {
        guard let fewestBits else { return [] }
        return metrics.map { metric in
            SensitivityRanking(
                metric: metric, bits: fewestBits, layers: mostSensitiveLayers(10, by: metric).map(\.path))
        }
    }

    /// The sums of every group with a listed layer, in the order of `LayerGroup`. Sums that are not finite are left
    /// out.
    public var sums: [SensitivitySum] {
        let sorted = layers.sorted { $0.path < $1.path }
        let groups = Dictionary(grouping: sorted) { $0.group }
        let weights = layers.reduce(0) { $0 + $1.weights }
        return LayerGroup.allCases.compactMap { group in
            groups[group].map { SensitivitySum(group, $0, allWeights: weights) }
        }
    }

    /// The share of all listed layers, 0...1, with a skewness within [-limit, limit]; the paper finds 0.97 for limit
    /// 0.5. nil for a table without layers.
    public func symmetricShare(limit: Double = 0.5) -> Double? {
        guard !layers.isEmpty else { return nil }
        return Double(layers.count { abs($0.skewness) <= limit }) / Double(layers.count)
    }

    private var freeLayers: [LayerSensitivity] {
        layers.filter { $0.role == .searched }
    }
}
