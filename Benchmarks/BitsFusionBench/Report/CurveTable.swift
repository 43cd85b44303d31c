// SPDX-License-Identifier: Apache-2.0
// Cost against problem size: the cost of one sample or pixel at each size, and the exponent of the growth.

import Foundation

/// The curves of a run.
struct CurveTable {
    private let curves: [(name: String, unit: String, rows: [(count: Int, row: BenchmarkRow)])]

    /// Curves with at least two points, in the order of their first rows.
    init(_ rows: [BenchmarkRow]) {
        var names: [String] = []
        for case let curve? in rows.map({ $0.curve?.curve }) where !names.contains(curve) {
            names.append(curve)
        }
        curves = names.compactMap { name in
            let points = rows.filter { $0.curve?.curve == name }
            guard points.count > 1, let unit = points[0].curve?.unit else { return nil }
            let sorted = points.map { ($0.curve?.count ?? 0, $0) }.sorted { $0.0 < $1.0 }
            return (name, unit, sorted)
        }
    }

    /// The exponent p of the least-squares fit of `cost = c * size^p` in logarithms; 1 is linear growth.
    ///
    /// - Parameters:
    ///   - sizes: > 0.
    ///   - costs: > 0, the same number.
    /// - Returns: p, or nil if all sizes are equal.
    static func exponent(sizes: [Double], costs: [Double]) -> Double? {
        let points = zip(sizes, costs).map { (log($0), log($1)) }
        guard !points.isEmpty else { return nil }
        let count = Double(points.count)
        let (meanX, meanY) = (
            points.reduce(0) { $0 + $1.0 } / count, points.reduce(0) { $0 + $1.1 } / count
        )
        let spread = points.reduce(0) { $0 + ($1.0 - meanX) * ($1.0 - meanX) }
        guard spread > 0 else { return nil }
        return points.reduce(0) { $0 + ($1.0 - meanX) * ($1.1 - meanY) } / spread
    }

    /// One line per side and curve.
    var lines: [String] {
        curves.flatMap { curve -> [String] in
            let sizes = curve.rows.map { Double($0.count) }
            let sides: [(String, [Double])] =
                [("ours", curve.rows.map(\.row.ours.statistics.median))]
                + TwinType.allCases.compactMap { type in
                    let costs = curve.rows.compactMap { $0.row[type]?.record.statistics.median }
                    return costs.count == sizes.count ? ("PyTorch \(type.rawValue)", costs) : nil
                }
            let head =
                "\(curve.name), ms per \(curve.unit.dropLast()) at "
                + curve.rows.map { String($0.count) }.joined(separator: ", ") + " \(curve.unit):"
            return ["", head]
                + sides.map { name, costs in
                    let each = zip(costs, sizes).map { Format.milliseconds($0 / $1) }.joined(separator: ", ")
                    let power =
                        Self.exponent(sizes: sizes, costs: costs).map { Format.ratio($0) } ?? "unknown"
                    return "  \(name): \(each); cost grows with the power \(power) of the \(curve.unit)"
                }
        }
    }
}
