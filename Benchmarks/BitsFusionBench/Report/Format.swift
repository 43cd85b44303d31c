// SPDX-License-Identifier: Apache-2.0
// Number formats of the tables: three significant figures, one unit per column.

import Foundation

/// Formats numbers.
enum Format {
    /// Seconds as milliseconds with three significant figures: "0.0123", "4.56", "1230".
    static func milliseconds(_ seconds: Double) -> String { figures(seconds * 1000) }

    /// At least three significant figures, without an exponent.
    static func figures(_ value: Double) -> String {
        guard value.isFinite else { return "\(value)" }
        guard value != 0 else { return "0" }
        let magnitude = Int(log10(abs(value)).rounded(.down))
        return String(format: "%.\(max(2 - magnitude, 0))f", value)
    }

    /// "1530 G" and the unit.
    static func rate(_ perSecond: Double, _ unit: String) -> String {
        "\(figures(perSecond * 1e-9)) G\(unit)"
    }

    static func ratio(_ value: Double) -> String { String(format: "%.2f", value) }

    static func percent(_ share: Double) -> String { String(format: "%.0f%%", share * 100) }

    /// Bytes as MB of 10^6.
    static func megabytes(_ bytes: Int) -> String { String((bytes + 500_000) / 1_000_000) }

    /// "3.1e-06".
    static func difference(_ value: Double) -> String {
        value.isFinite ? String(format: "%.1e", value) : "invalid"
    }
}
