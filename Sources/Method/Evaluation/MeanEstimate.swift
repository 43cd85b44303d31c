// SPDX-License-Identifier: Apache-2.0
// A mean with how sure one can be of it. n sample size.

/// The mean of a sample, and its standard error.
public struct MeanEstimate: Hashable, Codable, Sendable {
    /// The sample's mean; NaN for an empty sample.
    public let mean: Double
    /// s / √n with s² = Σ (x - mean)² / (n - 1); nil for fewer than two values.
    public let standardError: Double?
    /// n, the number of values.
    public let count: Int

    /// The estimate from a sample of independent values.
    public init(of values: some Collection<Double>) {
        let n = Double(values.count)
        let mean = values.reduce(0, +) / n
        count = values.count
        self.mean = mean
        guard count > 1 else {
            standardError = nil
            return
        }
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        standardError = (squares / (n - 1) / n).squareRoot()
    }
}
