// SPDX-License-Identifier: Apache-2.0
// Median and quartiles of repeated measurements.

/// Order statistics of measurements.
struct SampleStatistics: Codable, Equatable {
    let minimum, lowerQuartile, median, upperQuartile, maximum: Double
    /// The number of measurements.
    let count: Int

    /// Quartiles with linear interpolation, as by default in NumPy; nil without measurements.
    ///
    /// - Parameter samples: in any order; finite.
    init?(_ samples: [Double]) {
        guard !samples.isEmpty else { return nil }
        let sorted = samples.sorted()
        func quantile(_ share: Double) -> Double {
            let position = share * Double(sorted.count - 1)
            let below = Int(position)
            let above = min(below + 1, sorted.count - 1)
            return sorted[below] + (position - Double(below)) * (sorted[above] - sorted[below])
        }
        minimum = quantile(0)
        lowerQuartile = quantile(0.25)
        median = quantile(0.5)
        upperQuartile = quantile(0.75)
        maximum = quantile(1)
        count = sorted.count
    }
}
