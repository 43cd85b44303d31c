// SPDX-License-Identifier: Apache-2.0
// Decoding of entropy-coded bytes, see `EntropyStream`. For any bytes, the time is bounded by the number of codes,
// reads stay within the bytes, and codes within the levels.

/// Decodes `codes.count` codes minus `offset`.
///
/// - Throws: `PackingError` if the bytes are not a stream of that many codes.
func unpackEntropy<Pattern: FixedWidthInteger & UnsignedInteger & SIMDScalar>(
    _ bytes: UnsafeRawBufferPointer, levels: Int, offset: Pattern,
    into codes: UnsafeMutableBufferPointer<Pattern>
) throws(PackingError) {
    let tuples = CodeTuples(levels: levels)
    let stream = try EntropyStream(bytes, tuples: tuples)
    let (model, modelBytes) = try FrequencyModel.read(.init(rebasing: bytes[2...]), stream, tuples: tuples)
    let wordBytes = bytes.count - 2 - modelBytes - 4 * stream.lanes
    guard wordBytes >= 0 else { throw .streamCutOff(part: "states", bytes: bytes.count) }
    let states = (0..<stream.lanes).map { lane in
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 2 + modelBytes + 4 * lane, as: UInt32.self))
    }
    let faultyStates = states.count { $0 < EntropyStream.firstState }
    guard faultyStates == 0 else {
        throw .wrongStreamStart(faultyLanes: faultyStates, lanes: stream.lanes)
    }
    var decoder = LaneDecoder(
        words: .init(rebasing: bytes[(bytes.count - wordBytes)...]), states: states, slots: slots(model),
        rows: tuples.rows(offset: offset), codesPerTuple: tuples.codes, offset: offset)
    try decoder.decode(into: codes)
}

/// For each number in 0..<2^P, the symbol that it belongs to and the symbol's decoding step, in one word:
///
///     bits    0...15             16...31     32...47
///             number - start     frequency   symbol
private func slots(_ model: FrequencyModel) -> [UInt64] {
    var slots: [UInt64] = []
    slots.reserveCapacity(1 << model.precision)
    for (symbol, frequency) in model.frequencies.enumerated() {
        let step = UInt64(symbol) << 32 | UInt64(frequency) << 16
        for position in 0..<UInt64(frequency) { slots.append(step | position) }
    }
    return slots
}

/// The decoding state of a stream.
private struct LaneDecoder<Pattern: FixedWidthInteger & UnsignedInteger & SIMDScalar> {
    let words: UnsafeRawBufferPointer
    var states: [UInt32]
    /// 2^P words, P <= 14.
    let slots: [UInt64]
    let rows: [SIMD8<Pattern>]
    let codesPerTuple: Int
    let offset: Pattern
    /// The number of bytes read from `words`.
    var position = 0

    init(
        words: UnsafeRawBufferPointer, states: [UInt32], slots: [UInt64], rows: [SIMD8<Pattern>],
        codesPerTuple: Int, offset: Pattern
    ) {
        self.words = words
        self.states = states
        self.slots = slots
        self.rows = rows
        self.codesPerTuple = codesPerTuple
        self.offset = offset
    }

    mutating func decode(into codes: UnsafeMutableBufferPointer<Pattern>) throws(PackingError) {
        if let row = onlyRow { return try fill(codes, with: row) }
        // The fast path decodes rounds of all lanes while every lane can read a word and store a row of eight codes.
        var index = decodeQuickly(into: codes)
        var lane = 0
        while index < codes.count {
            let row = try nextRow(lane)
            lane = lane + 1 == states.count ? 0 : lane + 1
            let count = min(codesPerTuple, codes.count - index)
            for digit in 0..<count { codes[index + digit] = row[digit] }
            for digit in count..<codesPerTuple where row[digit] != row[count - 1] {
                throw .wrongFilling(
                    lastCode: Int(row[count - 1] &+ offset), found: Int(row[digit] &+ offset))
            }
            index += count
        }
        let faulty = states.count { $0 != EntropyStream.firstState }
        guard position == words.count, faulty == 0 else {
            throw .wrongStreamEnd(
                unreadBytes: words.count - position, faultyLanes: faulty, lanes: states.count)
        }
    }

    /// The row of the only symbol, if all numbers belong to one: it reads no words and changes no state.
    private var onlyRow: SIMD8<Pattern>? {
        guard let first = slots.first, words.count == 0, slots.allSatisfy({ $0 >> 32 == first >> 32 }) else {
            return nil
        }
        return rows[Int(first >> 32)]
    }

    /// Fills `codes` from one symbol. A few bytes can encode any number of codes, so that decoding them one by one
    /// could take minutes.
    private func fill(
        _ codes: UnsafeMutableBufferPointer<Pattern>, with row: SIMD8<Pattern>
    ) throws(PackingError) {
        for index in codes.indices { codes[index] = row[index % codesPerTuple] }
        let used = (codes.count + codesPerTuple - 1) % codesPerTuple + 1
        for digit in used..<codesPerTuple where row[digit] != row[used - 1] {
            throw .wrongFilling(lastCode: Int(row[used - 1] &+ offset), found: Int(row[digit] &+ offset))
        }
        let faulty = states.count { $0 != EntropyStream.firstState }
        guard faulty == 0 else {
            throw .wrongStreamEnd(unreadBytes: 0, faultyLanes: faulty, lanes: states.count)
        }
    }

    /// Reads a symbol from a lane, with all checks.
    private mutating func nextRow(_ lane: Int) throws(PackingError) -> SIMD8<Pattern> {
        let slot = slots[Int(states[lane]) & (slots.count - 1)]
        var state = advanced(states[lane], slot, precision: UInt32(slots.count.trailingZeroBitCount))
        if state < EntropyStream.firstState {
            guard position + 2 <= words.count else { throw .streamCutOff(part: "words", bytes: words.count) }
            let word = UInt16(littleEndian: words.loadUnaligned(fromByteOffset: position, as: UInt16.self))
            position += 2
            state = state << 16 | UInt32(word)
        }
        states[lane] = state
        return rows[Int(slot >> 32)]
    }

    /// Reads complete rounds of all lanes.
    ///
    /// - Returns: the number of decoded codes.
    private mutating func decodeQuickly(into codes: UnsafeMutableBufferPointer<Pattern>) -> Int {
        let lanes = states.count
        let codesPerRound = lanes * codesPerTuple
        let rounds = (codes.count - 8) / codesPerRound
        guard rounds > 0, let base = codes.baseAddress else { return 0 }
        let precision = UInt32(slots.count.trailingZeroBitCount)
        let mask = UInt32(slots.count - 1)
        var round = 0
        var position = 0
        var target = UnsafeMutableRawPointer(base)
        let step = codesPerTuple * MemoryLayout<Pattern>.size
        let words = words
        let lastStart = words.count - 2 * lanes
        var states = states
        states.withUnsafeMutableBufferPointer { states in
            slots.withUnsafeBufferPointer { slots in
                rows.withUnsafeBufferPointer { rows in
                    while round < rounds, position <= lastStart {
                        for lane in 0..<lanes {
                            let state = states[lane]
                            let slot = slots[Int(state & mask)]
                            let next = advanced(state, slot, precision: precision)
                            let word = UInt16(
                                littleEndian: words.loadUnaligned(fromByteOffset: position, as: UInt16.self))
                            // All bits set if next < 2^16: about half of the words are read, which a branch could not
                            // predict.
                            let isShort = UInt32(
                                truncatingIfNeeded: (UInt64(next) &- UInt64(EntropyStream.firstState)) &>> 32)
                            states[lane] = next &<< (isShort & 16) | UInt32(word) & isShort
                            position &+= Int(isShort & 2)
                            target.storeBytes(of: rows[Int(slot >> 32)], as: SIMD8<Pattern>.self)
                            target += step
                        }
                        round += 1
                    }
                }
            }
        }
        self.states = states
        self.position = position
        return round * codesPerRound
    }
}

/// A state after removing its lowest symbol: frequency * (x / 2^P) + x % 2^P - start. It is below 2^32, because all
/// frequencies sum to 2^P, and at least 4, because states are at least 2^16: one word makes it at least 2^16 again.
@inline(__always)
private func advanced(_ state: UInt32, _ slot: UInt64, precision: UInt32) -> UInt32 {
    let frequency = UInt32(truncatingIfNeeded: slot &>> 16) & 0xFFFF
    return frequency &* (state &>> precision) &+ (UInt32(truncatingIfNeeded: slot) & 0xFFFF)
}
