// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.

import Foundation

enum Numbers {
    /// 859520964 -> "859,520,964".
    static func grouped(_ value: Int) -> String {
        let digits = Array(String(abs(value)))
        var text = value < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }

    /// Bytes in decimal units: 219000000 -> "219.0 MB".
    static func bytes(_ value: Double) -> String {
        let units = ["bytes", "kB", "MB", "GB", "TB"]
        var (scaled, unit) = (value, 0)
        while abs(scaled) >= 999.95, unit + 1 < units.count {
            scaled /= 1000
            unit += 1
        }
        return unit == 0 ? "\(Int(scaled.rounded())) bytes" : String(format: "%.1f %@", scaled, units[unit])
    }

    /// As the other one, for whole bytes.
    static func bytes(_ value: Int) -> String { bytes(Double(value)) }

    /// With `digits` digits behind the point.
    static func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

    /// The size of the file at `path` in bytes; 0 where it cannot be told.
    static func fileSize(_ path: String) -> Int {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return (attributes?[.size] as? NSNumber)?.intValue ?? 0
    }
}
