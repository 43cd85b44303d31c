// SPDX-License-Identifier: Apache-2.0
// Where in the UNet the sensitivity lies: the measures of a sensitivity table summed over the layers of each place.

/// The layers of one place, and what quantizing them one by one costs.
public struct SensitivitySum: Equatable, Encodable, Sendable {
    /// One measure over the layers that have it.
    public struct Total: Equatable, Encodable, Sendable {
        /// How many layers have it.
        public let layers: Int
        public let sum, mean: Double
    }

    public let place: LayerGroup
    /// The number of listed layers.
    public let layers: Int
    /// Their weights.
    public let weights: Int
    /// Their share of the weights of all listed layers, 0...1.
    public let weightShare: Double
    /// The totals by width and measure; measures that no layer has are left out.
    public let bits: [BitWidth: [SensitivityMetric: Total]]

    enum CodingKeys: String, CodingKey {
        case place, layers, weights, weightShare, bits
    }

    /// Writes `{"place", "layers", "weights", "weightShare", "bits": {"1": {"mse": {"layers", "mean", "sum"}}}}`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(place, forKey: .place)
        try container.encode(layers, forKey: .layers)
        try container.encode(weights, forKey: .weights)
        try container.encode(weightShare, forKey: .weightShare)
        var widths = container.nestedContainer(keyedBy: DocumentKey.self, forKey: .bits)
        for (width, totals) in bits {
            var metrics = widths.nestedContainer(
                keyedBy: DocumentKey.self, forKey: DocumentKey("\(width)"))
            for (metric, total) in totals {
                try metrics.encode(total, forKey: DocumentKey(metric.rawValue))
            }
        }
    }
}

extension SensitivityTable {
    /// The sums of every place that a listed layer has, in the order of `LayerGroup`. A sum that no number can hold is
    /// left out.
    public var sums: [SensitivitySum] {
        let sorted = layers.sorted { $0.path < $1.path }
        let groups = Dictionary(grouping: sorted) { LayerGroup(of: $0.path) }
        let weights = layers.reduce(0) { $0 + $1.weights }
        return LayerGroup.allCases.compactMap { place in
            groups[place].map { SensitivitySum(place, $0, allWeights: weights) }
        }
    }
}

extension SensitivitySum {
    fileprivate init(_ place: LayerGroup, _ group: [LayerSensitivity], allWeights: Int) {
        self.place = place
        layers = group.count
        weights = group.reduce(0) { $0 + $1.weights }
        weightShare = Double(weights) / Double(allWeights)
        var bits: [BitWidth: [SensitivityMetric: Total]] = [:]
        for width in Set(group.flatMap(\.bits.keys)) {
            for metric in SensitivityMetric.allCases {
                let values = group.compactMap { $0.bits[width]?[metric] }
                let sum = values.reduce(0, +)
                guard !values.isEmpty, sum.isFinite else { continue }
                bits[width, default: [:]][metric] = Total(
                    layers: values.count, sum: sum, mean: sum / Double(values.count))
            }
        }
        self.bits = bits
    }
}
