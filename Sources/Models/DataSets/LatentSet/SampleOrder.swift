// SPDX-License-Identifier: Apache-2.0
// The order in which training reads the samples of a set: epochs of shuffled batches, each of samples of one size. It
// is a function of the seed and the sizes of the groups alone, so that a resumed run and any number of processes read
// the same samples.

import Tensors

/// A sample of a set by its group and row.
struct SamplePosition: Hashable, Sendable {
    let group, row: Int
}

/// Batches of samples in random order.
struct SampleOrder: Sendable {
    /// The samples of each group, in the order of the file.
    private let groups: [[UInt32]]
    private let batchSize: Int
    private let seed: UInt64
    /// Batches of an epoch.
    let batchesPerEpoch: Int
    private var epoch: (index: Int, batches: [(group: Int, start: Int)], rows: [[UInt32]])?

    /// - Parameters:
    ///   - groups: the rows of each group that are read.
    ///   - batchSize: samples of a batch.
    ///   - seed: the seed of the order.
    init(groups: [[UInt32]], batchSize: Int, seed: UInt64) {
        precondition(batchSize > 0 && groups.contains { !$0.isEmpty }, "sample order: no samples")
        self.groups = groups
        self.batchSize = batchSize
        self.seed = seed ^ fnv1a("order of samples")
        batchesPerEpoch = groups.reduce(0) { $0 + ($1.count + batchSize - 1) / batchSize }
    }

    /// The samples of batch `index` of an endless sequence. Every sample is in one batch of an epoch; the last batch
    /// of a group is filled up with its first samples of the epoch.
    mutating func batch(_ index: Int) -> [SamplePosition] {
        let number = index / batchesPerEpoch
        if epoch?.index != number { epoch = shuffled(number) }
        guard let epoch else { return [] }
        let (group, start) = epoch.batches[index % batchesPerEpoch]
        let rows = epoch.rows[group]
        return (start..<start + batchSize).map { SamplePosition(group: group, row: Int(rows[$0 % rows.count])) }
    }

    private func shuffled(_ number: Int) -> (index: Int, batches: [(group: Int, start: Int)], rows: [[UInt32]]) {
        var random = Philox(seed: seed, stream: UInt64(number))
        func shuffle<Element>(_ elements: inout [Element]) {
            // Fisher and Yates. 53 bits, because a float has too few for large sets.
            for last in stride(from: elements.count - 1, to: 0, by: -1) {
                let high = UInt64(random.nextUniform() * 0x1p24), low = UInt64(random.nextUniform() * 0x1p24)
                elements.swapAt(last, Int((high << 24 | low) % UInt64(last + 1)))
            }
        }
        var rows = groups
        for index in rows.indices { shuffle(&rows[index]) }
        var batches = rows.indices.flatMap { group in
            stride(from: 0, to: rows[group].count, by: batchSize).map { (group: group, start: $0) }
        }
        shuffle(&batches)
        return (number, batches, rows)
    }
}
