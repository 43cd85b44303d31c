// SPDX-License-Identifier: Apache-2.0
// A part of an analysis for one of several machines or processes: every n-th layer, so that all parts cost about the same.

/// Part `index` of `count`, from 1, written 2/8.
public struct SensitivityShard: Hashable, Sendable, Codable, CustomStringConvertible {
    public let index: Int
    public let count: Int

    /// - Returns: nil where `index` is not in 1 ... `count`.
    public init?(index: Int, count: Int) {
        guard count > 0, (1...count).contains(index) else { return nil }
        (self.index, self.count) = (index, count)
    }

    /// Reads `2/8`.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let index = parts[0], let count = parts[1] else { return nil }
        self.init(index: index, count: count)
    }

    public var description: String { "\(index)/\(count)" }

    /// Whether the layer at `position` in the order of the analysis, from 0, belongs to this part.
    func contains(_ position: Int) -> Bool { position % count == index - 1 }
}
