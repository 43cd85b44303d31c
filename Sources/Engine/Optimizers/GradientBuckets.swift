// SPDX-License-Identifier: Apache-2.0
// The memory of gradient sums: parameters in groups that are adjacent in memory, so that processes exchange few large
// messages. Of sums that are divided among processes, a group is in memory only until it is reduced; the part of this
// process remains.

import Tensors

struct GradientBuckets {
    private struct Bucket {
        let slots: Range<Int>
        let count: Int
        /// The elements of each process; nil for complete sums.
        let counts: [Int]?
        /// 32-bit integers, then, of complete sums, the gradients in Float32.
        var sums: Tensor?
        /// The part of this process after the reduction, as for `sums`.
        var part: Tensor?
        /// Terms of the last micro-batch that are still to come.
        var missing = 0
        var isPending = false
    }

    private var buckets: [Bucket]
    /// By slot: the bucket and the first element in it.
    private let places: [(bucket: Int, first: Int)]
    private let shards: OptimizerShards?
    /// The buckets in the order in which a backward pass completes them, and the terms of a micro-batch by bucket.
    private var order: [(bucket: Int, terms: Int)] = []
    private var next = 0

    /// Elements of a bucket, unless a parameter has more.
    private static let size = 1 << 23

    /// The indices of the parameters of each bucket.
    static func groups(_ counts: [Int]) -> [Range<Int>] {
        var groups: [Range<Int>] = [], total = 0
        for (slot, count) in counts.enumerated() {
            if let last = groups.last, total + count <= size {
                groups[groups.count - 1] = last.lowerBound..<slot + 1
                total += count
            } else {
                groups.append(slot..<slot + 1)
                total = count
            }
        }
        return groups
    }

    init(_ counts: [Int], groups: [Range<Int>], shards: OptimizerShards?) {
        self.shards = shards
        buckets = groups.map { slots in
            Bucket(
                slots: slots, count: counts[slots].reduce(0, +),
                counts: shards.map { shards in
                    shards.elements.map { ofProcess in slots.reduce(0) { $0 + ofProcess[$1].count } }
                })
        }
        places = groups.enumerated().flatMap { index, slots in
            slots.map { slot in (index, counts[slots.lowerBound..<slot].reduce(0, +)) }
        }
    }

    var indices: Range<Int> { buckets.indices }

    func slots(_ bucket: Int) -> Range<Int> { buckets[bucket].slots }

    /// The integers of a parameter. The memory of a bucket is allocated at its first use.
    mutating func sums(of slot: Int) -> UnsafeMutablePointer<Int32> {
        let (bucket, first) = places[slot]
        buckets[bucket].isPending = true
        return integers(bucket) + first
    }

    private mutating func integers(_ bucket: Int) -> UnsafeMutablePointer<Int32> {
        let sums = buckets[bucket].sums ?? Tensor(unsafeUninitialized: [buckets[bucket].count])
        buckets[bucket].sums = sums
        return UnsafeMutableRawPointer(sums.pointer).assumingMemoryBound(to: Int32.self)
    }

    // MARK: Order

    var knowsOrder: Bool { !order.isEmpty }

    /// Remembers in which order a backward pass has given gradients. Every micro-batch has the same one.
    mutating func setOrder(_ slots: [Int]) {
        var last: [Int: (position: Int, terms: Int)] = [:]
        for (position, slot) in slots.enumerated() {
            last[places[slot].bucket] = (position, (last[places[slot].bucket]?.terms ?? 0) + 1)
        }
        order = last.sorted { $0.value.position < $1.value.position }.map { ($0.key, $0.value.terms) }
    }

    /// Starts the last micro-batch.
    mutating func startOrder() {
        next = 0
        for (bucket, terms) in order { buckets[bucket].missing = terms }
    }

    /// The buckets that can be reduced after a term of `slot`. All processes reduce them in the same order.
    mutating func completed(by slot: Int) -> [Int] {
        buckets[places[slot].bucket].missing -= 1
        var completed: [Int] = []
        while next < order.count, buckets[order[next].bucket].missing == 0 {
            completed.append(order[next].bucket)
            next += 1
        }
        return completed
    }

    // MARK: Reduction

    /// Whether a bucket has sums that are not reduced.
    func isPending(_ bucket: Int) -> Bool { buckets[bucket].isPending }

    mutating func reduce(_ index: Int, _ reduction: GradientAccumulator.Reduction) throws {
        let integers = integers(index), bucket = buckets[index]
        try reduction(UnsafeMutableBufferPointer(start: integers, count: bucket.count), bucket.counts)
        buckets[index].isPending = false
        guard let counts = bucket.counts, let shards else { return }
        let part = bucket.part ?? Tensor(unsafeUninitialized: [counts[shards.rank]])
        let first = counts[..<shards.rank].reduce(0, +)
        if let sums = bucket.sums { part.pointer.update(from: sums.pointer + first, count: part.count) }
        buckets[index].part = part
        buckets[index].sums = nil
    }

    /// The reduced sums of a parameter, or those of this process's elements.
    mutating func reduced(_ slot: Int, shape: [Int]) -> Tensor {
        let (index, first) = places[slot], bucket = buckets[index]
        guard let shards else {
            _ = integers(index)
            return buckets[index].sums?.part(from: first, shape: shape) ?? .zeros(shape)
        }
        let before = (bucket.slots.lowerBound..<slot).reduce(0) { $0 + shards.own[$1].count }
        return bucket.part?.part(from: before, shape: shape) ?? .zeros(shape)
    }

    // MARK: Values

    /// Sends the values of each process's elements to all others.
    func shareValues(
        _ index: Int, of parameters: [Parameter],
        _ share: (UnsafeMutableBufferPointer<Int32>, _ counts: [Int]) throws -> Void
    ) throws {
        guard let shards, let counts = buckets[index].counts else { return }
        let buffer = Tensor(unsafeUninitialized: [buckets[index].count])
        for slot in buckets[index].slots {
            let own = shards.own[slot]
            (buffer.pointer + places[slot].first + own.lowerBound).update(
                from: parameters[slot].value.pointer + own.lowerBound, count: own.count)
        }
        try buffer.pointer.withMemoryRebound(to: Int32.self, capacity: buffer.count) {
            try share(UnsafeMutableBufferPointer(start: $0, count: buffer.count), counts)
        }
        for slot in buckets[index].slots {
            parameters[slot].value.mutablePointer.update(
                from: buffer.pointer + places[slot].first, count: parameters[slot].value.count)
        }
    }
}
