// SPDX-License-Identifier: Apache-2.0
// How the measures of a sensitivity analysis go together over the layers: the paper's table of findings (arXiv
// 2406.04333, section 3.2: MSE against PSNR and CLIP drop at each width, and MSE between widths).

/// Pearson's correlation of two measures over the layers of a table.
public struct SensitivityCorrelation: Hashable, Codable, Sendable {
    /// The measures, as `measure@width`, such as `mse@1`.
    public var x, y: String
    /// Pearson's r, in `-1...1`.
    public var pearson: Double
    /// The number of layers that have both measures.
    public var layers: Int

    /// Records one correlation.
    public init(x: String, y: String, pearson: Double, layers: Int) {
        self.x = x
        self.y = y
        self.pearson = pearson
        self.layers = layers
    }
}

extension SensitivityTable {
    /// The correlations that the paper reports, worked out from `layers`: at each width MSE with PSNR and with CLIP
    /// drop, and MSE with MSE for each pair of widths. A pair that fewer than three layers have, or of which one side
    /// is constant, has no correlation and is left out.
    public func measuredCorrelations() -> [SensitivityCorrelation] {
        let widths = Set(layers.flatMap(\.bits.keys)).sorted()
        var result: [SensitivityCorrelation] = []
        for width in widths {
            result += correlation(("mse", width, { $0.mse }), ("psnr", width, { $0.psnr }))
            result += correlation(("mse", width, { $0.mse }), ("clipDrop", width, { $0.clipDrop }))
        }
        for (index, width) in widths.enumerated() {
            for wider in widths[(index + 1)...] {
                result += correlation(("mse", width, { $0.mse }), ("mse", wider, { $0.mse }))
            }
        }
        return result
    }

    private typealias Measured = (name: String, width: BitWidth, value: (SensitivityMeasure) -> Double?)

    private func correlation(_ x: Measured, _ y: Measured) -> [SensitivityCorrelation] {
        var xs: [Double] = []
        var ys: [Double] = []
        for layer in layers {
            guard let first = layer.bits[x.width].flatMap(x.value),
                let second = layer.bits[y.width].flatMap(y.value)
            else { continue }
            xs.append(first)
            ys.append(second)
        }
        guard xs.count >= 3, let pearson = pearsonCorrelation(xs, ys) else { return [] }
        return [
            SensitivityCorrelation(
                x: "\(x.name)@\(x.width)", y: "\(y.name)@\(y.width)", pearson: pearson, layers: xs.count)
        ]
    }
}

/// Pearson's r of two equally long samples: covariance over the product of the standard deviations.
///
/// - Returns: r in `-1...1`; nil where a sample is constant or has fewer than two values.
/// - Precondition: `xs.count == ys.count`.
public func pearsonCorrelation(_ xs: [Double], _ ys: [Double]) -> Double? {
    precondition(xs.count == ys.count, "pearsonCorrelation: \(xs.count) values against \(ys.count)")
    guard xs.count >= 2 else { return nil }
    let meanX = xs.reduce(0, +) / Double(xs.count)
    let meanY = ys.reduce(0, +) / Double(ys.count)
    var xx = 0.0
    var yy = 0.0
    var xy = 0.0
    for (x, y) in zip(xs, ys) {
        xx += (x - meanX) * (x - meanX)
        yy += (y - meanY) * (y - meanY)
        xy += (x - meanX) * (y - meanY)
    }
    guard xx > 0, yy > 0 else { return nil }
    return max(-1, min(1, xy / (xx.squareRoot() * yy.squareRoot())))
}
