// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one word (Sennrich, Haddow, Birch 2016): the neighboring pair of the smallest rank is merged
// until no pair has a merge. A heap of pairs keeps long words fast.

extension BytePairVocabulary {
    /// Appends the ids of `word` to `output`.
    ///
    /// - Parameters:
    ///   - word: the bytes of a word; one token per byte before the first merge.
    ///   - unknown: the id for bytes without a token; nil if the vocabulary has no unknown token.
    ///   - output: receives the ids.
    /// - Returns: false if a byte has no token and `unknown` is nil.
    func encode(_ word: [UInt8], unknown: Int32?, into output: inout [Int32]) -> Bool {
        var symbols: [Int32] = []
        symbols.reserveCapacity(word.count)
        for (offset, byte) in word.enumerated() {
            let table = offset == word.count - 1 ? finalByteIDs : byteIDs
            guard let id = table[Int(byte)] ?? unknown else { return false }
            symbols.append(id)
        }
        var chain = SymbolChain(symbols)
        var queue = RankQueue()
        func enqueue(_ left: Int) {
            guard let right = chain.next(left), let merge = merge(chain.symbols[left], chain.symbols[right]) else {
                return
            }
            queue.insert(rank: merge.rank, position: left)
        }
        for position in symbols.indices.dropLast() { enqueue(position) }
        while let (rank, left) = queue.removeFirst() {
            // Earlier merges may have removed or changed the pair.
            guard chain.isAlive(left), let right = chain.next(left),
                let merge = merge(chain.symbols[left], chain.symbols[right]), merge.rank == rank
            else { continue }
            chain.merge(left, right, into: merge.id)
            if let before = chain.previous(left) { enqueue(before) }
            enqueue(left)
        }
        chain.append(to: &output)
        return true
    }
}

/// The symbols of a word as a doubly linked list.
private struct SymbolChain {
    private static let removed = -2
    private(set) var symbols: [Int32]
    private var following, preceding: [Int]

    init(_ symbols: [Int32]) {
        self.symbols = symbols
        following = symbols.indices.map { $0 + 1 < symbols.count ? $0 + 1 : -1 }
        preceding = symbols.indices.map { $0 - 1 }
    }

    func isAlive(_ position: Int) -> Bool { following[position] != Self.removed }
    func next(_ position: Int) -> Int? { following[position] >= 0 ? following[position] : nil }
    func previous(_ position: Int) -> Int? { preceding[position] >= 0 ? preceding[position] : nil }

    mutating func merge(_ left: Int, _ right: Int, into id: Int32) {
        symbols[left] = id
        following[left] = following[right]
        if let after = next(right) { preceding[after] = left }
        following[right] = Self.removed
    }

    func append(to output: inout [Int32]) {
        var position = symbols.isEmpty ? nil : Optional(0)
        while let current = position {
            output.append(symbols[current])
            position = next(current)
        }
    }
}

/// A binary heap of pairs, ordered by rank, then by position.
private struct RankQueue {
    private var items: [UInt64] = []

    mutating func insert(rank: UInt32, position: Int) {
        items.append(UInt64(rank) << 32 | UInt64(position))
        var child = items.count - 1
        while child > 0, items[child] < items[(child - 1) / 2] {
            items.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func removeFirst() -> (rank: UInt32, position: Int)? {
        guard let first = items.first else { return nil }
        let last = items.removeLast()
        if !items.isEmpty {
            items[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2]
                where child < items.count && items[child] < items[least] {
                    least = child
                }
                if least == parent { break }
                items.swapAt(parent, least)
                parent = least
            }
        }
        return (UInt32(first >> 32), Int(first & 0xFFFF_FFFF))
    }
}
