// SPDX-License-Identifier: Apache-2.0
// The processors that this process may use: `taskset`, containers and `mpirun` restrict them.

import Foundation

/// The processors of this process.
package enum Processors {
    /// Their numbers as the system writes them, such as `0-3,8`; empty where it does not say.
    package static let list: String = {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
        return line.map { $0.drop { $0 != ":" }.dropFirst().trimmingCharacters(in: .whitespaces) } ?? ""
    }()

    /// Their number.
    package static let count = count(of: list) ?? ProcessInfo.processInfo.activeProcessorCount

    /// The number of processors of a list; nil for other texts.
    static func count(of list: String) -> Int? {
        var count = 0
        for part in list.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last else {
                return nil
            }
            count += last - first + 1
        }
        return count
    }
}
