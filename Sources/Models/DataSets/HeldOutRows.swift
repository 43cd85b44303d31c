// SPDX-License-Identifier: Apache-2.0
// The rows of a stored set that are held out for validation, and which rows the batches of a set consist of.

import Tensors

/// Rows that are chosen at random, without replacement.
///
/// They are a function of their number, the number of rows and the seed.
struct HeldOutRows: Sendable, Equatable {
    /// In ascending order.
    let rows: [Int]

    /// Separate from the streams of training steps, which are small numbers.
    private static let stream = fnv1a("held-out rows")

    /// Chooses `count` of `total` rows (Floyd's algorithm: every subset is equally likely).
    ///
    /// - Precondition: 0 < `count` < `total`.
    init(_ count: Int, of total: Int, seed: UInt64) {
        precondition(count > 0 && count < total, "held-out rows: \(count) of \(total)")
        var random = Philox(seed: seed, stream: Self.stream)
        var chosen = Set<Int>()
        for last in total - count..<total {
            let row = random.nextInt(below: last + 1)
            chosen.insert(chosen.contains(row) ? last : row)
        }
        rows = chosen.sorted()
    }

    /// The row at `position` among those that are not held out.
    func remaining(_ position: Int) -> Int {
        var row = position
        for heldOut in rows {
            guard heldOut <= row else { break }
            row += 1
        }
        return row
    }
}

/// The rows that batches of a stored set consist of.
enum RowSelection: Sendable, Equatable {
    /// Drawn from all rows, with replacement.
    case all
    /// Drawn from the rows that are not held out, with replacement.
    case without(HeldOutRows)
    /// The held-out rows in order, each once.
    case only(HeldOutRows)

    /// The rows of samples `indices` of a set of `total` rows.
    func rows(_ indices: Range<Int>, of total: Int, using random: inout Philox) -> [Int] {
        switch self {
        case .all: indices.map { _ in random.nextInt(below: total) }
        case .without(let heldOut):
            indices.map { _ in heldOut.remaining(random.nextInt(below: total - heldOut.rows.count)) }
        case .only(let heldOut): indices.map { heldOut.rows[$0] }
        }
    }
}
