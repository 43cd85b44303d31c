// SPDX-License-Identifier: Apache-2.0
// The curve of all budgets as an image: total quantization error, on a logarithmic axis, over the average entropy of
// the codes, or over average bits where that is not known.

import BitsFusion
import Foundation

/// Draws an `AllocationCurve` as SVG.
struct CurveDrawing {
    private let curve: AllocationCurve
    private let bits: ClosedRange<Double>
    private let bitsOfPoint: (AllocationPoint) -> Double
    private let axis: String
    /// Decades of the error.
    private let decades: ClosedRange<Double>

    private static let (width, height, margin) = (760.0, 480.0, 64.0)

    init(_ curve: AllocationCurve) {
        self.curve = curve
        let points = curve.optimal + curve.threshold + curve.entropy
        let hasEntropies = points.allSatisfy { $0.entropyBits != nil }
        bitsOfPoint = { hasEntropies ? $0.entropyBits ?? $0.averageBits : $0.averageBits }
        axis = hasEntropies ? "entropy of the codes, bits per weight" : "average bits per weight"
        let averages = points.map(bitsOfPoint)
        let low = averages.min() ?? 1
        bits = low...max(averages.max() ?? 2, low + 1e-3)
        // Errors below a millionth of the largest are drawn at the lower edge.
        let errors = points.map(\.predictedError).filter { $0 > 0 }
        let largest = log10(errors.max() ?? 1)
        let smallest = max(log10(errors.min() ?? 0.1), largest - 6)
        decades = smallest.rounded(.down)...max(largest.rounded(.up), smallest.rounded(.down) + 1)
    }

    var svg: String {
        let (width, height, margin) = (Self.width, Self.height, Self.margin)
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"13\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        ]
        for decade in Int(decades.lowerBound)...Int(decades.upperBound) {
            let y = self.y(pow(10, Double(decade)))
            lines.append(Self.line(margin, y, width - margin / 2, y, "#dddddd"))
            lines.append(Self.text(margin - 8, y + 4, "1e\(decade)", anchor: "end"))
        }
        let step = (bits.upperBound - bits.lowerBound) > 2.5 ? 0.5 : 0.25
        var tick = (bits.lowerBound / step).rounded(.up) * step
        while tick <= bits.upperBound {
            lines.append(Self.line(x(tick), height - margin, x(tick), height - margin + 5, "#888888"))
            lines.append(Self.text(x(tick), height - margin + 20, Numbers.fixed(tick, 2), anchor: "middle"))
            tick += step
        }
        lines.append(Self.text(width / 2, height - 14, axis, anchor: "middle"))
        lines.append(
            Self.text(margin, 24, "total quantization error (\(curve.metric.rawValue))", anchor: "start"))
        for (index, (name, points, color)) in [
            ("optimal", curve.optimal, "#1f6fb2"),
            ("threshold (the paper's rule)", curve.threshold, "#c44e1f"),
            ("entropy (with dead zones)", curve.entropy, "#2a8a4a"),
        ].filter({ !$0.1.isEmpty }).enumerated() {
            let path = points.map { String(format: "%.2f,%.2f", x(bitsOfPoint($0)), y($0.predictedError)) }
            lines.append(
                "<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.6\" points=\""
                    + path.joined(separator: " ") + "\"/>")
            let top = 44 + 20 * Double(index)
            lines.append(Self.line(width - 250, top - 4, width - 225, top - 4, color))
            lines.append(Self.text(width - 218, top, name, anchor: "start"))
        }
        return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    private func x(_ average: Double) -> Double {
        let share = (average - bits.lowerBound) / (bits.upperBound - bits.lowerBound)
        return Self.margin + share * (Self.width - 1.5 * Self.margin)
    }

    private func y(_ error: Double) -> Double {
        let decade = min(
            max(log10(max(error, .leastNormalMagnitude)), decades.lowerBound), decades.upperBound)
        let share = (decade - decades.lowerBound) / (decades.upperBound - decades.lowerBound)
        return Self.height - Self.margin - share * (Self.height - 1.6 * Self.margin)
    }

    private static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ color: String)
        -> String
    {
        String(
            format: "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%@\"/>", x1, y1, x2, y2,
            color)
    }

    private static func text(_ x: Double, _ y: Double, _ text: String, anchor: String) -> String {
        String(format: "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%@\">%@</text>", x, y, anchor, text)
    }
}
