// SPDX-License-Identifier: Apache-2.0
// Entropy coding of codes, see `EntropyStream`. Symbols are encoded from last to first, because the states of rANS are
// stacks: the decoder reads first what was written last.

/// The entropy-coded stream of `codes`; a code plus `offset` is in `0..<levels`.
func packEntropy<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ codes: UnsafeBufferPointer<Pattern>, levels: Int, offset: Pattern, radix: () -> [UInt8]
) -> [UInt8] {
    guard !codes.isEmpty else { return [] }
    let tuples = CodeTuples(levels: levels)
    let symbols = tuples.symbols(of: codes, offset: offset)
    let choice = FrequencyChoice(occurrences(symbols, of: tuples.symbols), tuples: tuples)
    let bound = packedByteCountBound(count: codes.count, levels: levels, encoding: .entropy)
    // A lane costs about three bytes; their number is limited to less than 0.1 % of the stream.
    let lanes = Int.bitWidth - 1 - (max(1, choice.byteCount >> 12)).leadingZeroBitCount
    let stream = EntropyStream(
        model: choice.model.stream, precision: choice.model.precision,
        laneLogarithm: min(lanes, EntropyStream.laneLogarithms.upperBound))
    // A state contains information of at most two bytes.
    if choice.byteCount + 2 * stream.lanes < bound {
        let bytes = encode(symbols, choice.model, stream)
        if bytes.count < bound { return bytes }
    }
    return [EntropyStream.radixHeader] + radix()
}

/// The frequencies of `count` symbols.
private func occurrences(_ symbols: [UInt16], of count: Int) -> [Int] {
    // Two tables, so that increments of equal consecutive symbols do not depend on each other.
    var counts = [Int](repeating: 0, count: 2 * count)
    symbols.withUnsafeBufferPointer { symbols in
        counts.withUnsafeMutableBufferPointer { counts in
            for index in symbols.indices {
                counts[Int(symbols[index]) &+ (index & 1 == 0 ? 0 : count)] &+= 1
            }
        }
    }
    return (0..<count).map { counts[$0] + counts[count + $0] }
}

/// The encoding step of a symbol.
private struct SymbolStep {
    /// States of at least this value output a word first: frequency * 2^(32 - P).
    let limit: UInt64
    /// floor(2^(32 + P) / frequency) + 1. For states x below `limit`, floor(x * reciprocal / 2^(32 + P)) is floor(x /
    /// frequency), because the error is less than x / 2^(32 + P) < frequency / 2^(2P) <= 1 / frequency, and the product
    /// is less than 2^64.
    let reciprocal: UInt64
    let start: UInt64
    /// 2^P - frequency.
    let complement: UInt64
}

private func encode(_ symbols: [UInt16], _ model: FrequencyModel, _ stream: EntropyStream) -> [UInt8] {
    let precision = UInt64(model.precision)
    var start: UInt64 = 0
    let steps = model.frequencies.map { frequency in
        let frequency = UInt64(frequency)
        defer { start += frequency }
        return SymbolStep(
            limit: frequency << (32 - precision),
            reciprocal: frequency == 0 ? 0 : (1 << (32 + precision)) / frequency + 1,
            start: start, complement: (1 << precision) - frequency)
    }
    let shift = 32 + precision
    let lanes = stream.lanes
    var states = [UInt64](repeating: UInt64(EntropyStream.firstState), count: lanes)
    // A symbol outputs at most one word; one extra element, because a word is stored before its position advances.
    var firstWord = symbols.count + 1
    let words = [UInt16](unsafeUninitializedCapacity: symbols.count + 1) { words, initialized in
        steps.withUnsafeBufferPointer { steps in
            states.withUnsafeMutableBufferPointer { states in
                for index in stride(from: symbols.count - 1, through: 0, by: -1) {
                    let step = steps[Int(symbols[index])]
                    let lane = index & (lanes - 1)
                    var state = states[lane]
                    let isFull = state >= step.limit
                    words[firstWord - 1] = UInt16(truncatingIfNeeded: state).littleEndian
                    firstWord -= isFull ? 1 : 0
                    state = isFull ? state >> 16 : state
                    let quotient = (state &* step.reciprocal) &>> shift
                    states[lane] = state &+ quotient &* step.complement &+ step.start
                }
            }
        }
        initialized = symbols.count + 1
    }
    var bytes = stream.header + model.bytes
    for state in states {
        withUnsafeBytes(of: UInt32(state).littleEndian) { bytes.append(contentsOf: $0) }
    }
    words[firstWord...].withUnsafeBytes { bytes.append(contentsOf: $0) }
    return bytes
}
