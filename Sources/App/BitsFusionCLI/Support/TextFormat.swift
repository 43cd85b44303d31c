// SPDX-License-Identifier: Apache-2.0
// Numbers and tables in the text output of commands.

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

    /// As above, for whole bytes.
    static func bytes(_ value: Int) -> String { bytes(Double(value)) }

    /// With `digits` decimal places.
    static func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

    /// As above; a dash for nil.
    static func fixed(_ value: Double?, _ digits: Int) -> String { value.map { fixed($0, digits) } ?? "–" }

    /// The largest resident memory of this process so far, in bytes.
    static var peakMemory: Int {
        var usage = rusage()
        #if canImport(Darwin)
            getrusage(RUSAGE_SELF, &usage)
            return usage.ru_maxrss
        #else
            getrusage(RUSAGE_SELF.rawValue, &usage)
            return usage.ru_maxrss * 1024
        #endif
    }

    /// The resident memory of this process in bytes; nil where the system does not tell it in /proc.
    static var residentMemory: Int? {
        guard let file = fopen("/proc/self/statm", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, Int32(line.count), file) != nil else { return nil }
        let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            .split(separator: " ")
        return fields.count > 1 ? Int(fields[1]).map { $0 * Int(getpagesize()) } : nil
    }

    /// The size of the file at `path` in bytes; 0 if it is unknown.
    static func fileSize(_ path: String) -> Int {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return (attributes?[.size] as? NSNumber)?.intValue ?? 0
    }

    /// A duration in seconds.
    static func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }

    /// `seconds` as `42 s`, `3:05 min` or `1:20 h`.
    static func time(_ seconds: Double) -> String {
        let whole = Int(min(seconds, 1e9).rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return String(format: "%d:%02d min", whole / 60, whole % 60) }
        return String(format: "%d:%02d h", whole / 3600, whole / 60 % 60)
    }

    /// The middle of the sorted values, or the mean of the two middle ones.
    ///
    /// - Precondition: `values` is not empty.
    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

/// Rows of text in aligned columns.
struct TextTable {
    enum Alignment { case left, right }

    private let header: [String]
    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// A table with a heading for each column; columns without an alignment are aligned to the right.
    init(_ header: [String], alignments: [Alignment] = [.left]) {
        self.header = header
        self.alignments = alignments
    }

    /// Adds a row; missing cells are empty.
    mutating func add(_ cells: [String]) {
        precondition(cells.count <= header.count, "table: \(cells.count) cells for \(header.count) columns")
        rows.append(cells)
    }

    /// The lines without trailing spaces, the heading first.
    var lines: [String] {
        let all = [header] + rows
        let widths = header.indices.map { column in
            all.compactMap { $0.count > column ? $0[column].count : nil }.max() ?? 0
        }
        return all.map { row in
            let cells = row.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                let alignment = column < alignments.count ? alignments[column] : .right
                return alignment == .left ? cell + space : space + cell
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    func print() {
        for line in lines { Output.line(line) }
    }
}
