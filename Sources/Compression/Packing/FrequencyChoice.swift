// SPDX-License-Identifier: Apache-2.0
// The choice of the frequency model of a stream: the model for which codes and frequencies together take the fewest
// bytes. Integer arithmetic only, because the bytes depend on the result.

/// A frequency model for given symbol counts, and the resulting size of the stream.
struct FrequencyChoice {
    let model: FrequencyModel
    /// Number of bits of the symbols, in units of 2^-16 bits, rounded, without the overhead of states.
    let symbolCost: Int

    /// Number of bytes of frequencies and symbols, without header and states.
    var byteCount: Int { (model.bitCount + 7) / 8 + (symbolCost >> 19) }

    /// The best model and precision for `symbolCounts`, which must not all be zero.
    ///
    /// Among all within 1/4096 of the smallest size, the one with the lowest precision, because its tables are the
    /// smallest: 2^P words, which fit into the first-level cache for P = 12.
    init(_ symbolCounts: [Int], tuples: CodeTuples) {
        let weights =
            tuples.codes == 1
            ? nil
            : apportioned(
                tuples.codeCounts(symbolCounts), total: 1 << FrequencyModel.weightBits(tuples))
        let candidates = EntropyStream.precisions.flatMap { precision in
            [
                weights.map { FrequencyModel(weights: $0, tuples: tuples, precision: precision) },
                apportioned(symbolCounts, total: 1 << precision)
                    .map { FrequencyModel(frequencies: $0, precision: precision) },
            ].compactMap { model in
                model.map { FrequencyChoice(model: $0, symbolCost: cost(symbolCounts, $0)) }
            }
        }
        let smallest = candidates.map(\.byteCount).min() ?? 0
        // There is always a candidate: 257 symbols fit into every precision from 9 on.
        let chosen = candidates.first { $0.byteCount <= smallest + (smallest >> 12) }
        guard let chosen else {
            preconditionFailure("FrequencyChoice: \(symbolCounts.count) symbols have no frequencies")
        }
        self = chosen
    }

    private init(model: FrequencyModel, symbolCost: Int) {
        self.model = model
        self.symbolCost = symbolCost
    }
}

/// Apportions `total` to symbols in proportion to `counts`, at least 1 for each nonzero count.
///
/// Increasing the share of symbol s by 1 saves about counts[s] / (share[s] + 1/2) / ln 2 bits. The remainder after
/// rounding down goes to the symbols with the largest savings; an excess caused by the minimum of 1 is taken from those
/// with the smallest. Ties go to the first symbol.
///
/// - Returns: the shares; nil if more than `total` counts are not zero.
func apportioned(_ counts: [Int], total: Int) -> [Int]? {
    guard counts.count(where: { $0 > 0 }) <= total else { return nil }
    let sum = counts.reduce(0, +)
    var shares = counts.map { $0 == 0 ? 0 : max(1, mulDiv($0, total, sum)) }
    var rest = total - shares.reduce(0, +)
    while rest != 0 {
        var best = -1
        for symbol in counts.indices where rest > 0 ? counts[symbol] > 0 : shares[symbol] > 1 {
            guard best >= 0 else {
                best = symbol
                continue
            }
            // Gain of an increment: counts / (2 share + 1); loss of a decrement: counts / (2 share - 1).
            let step = rest > 0 ? 1 : -1
            let symbolGain = counts[symbol].multipliedFullWidth(by: 2 * shares[best] + step)
            let bestGain = counts[best].multipliedFullWidth(by: 2 * shares[symbol] + step)
            if rest > 0 ? symbolGain > bestGain : symbolGain < bestGain { best = symbol }
        }
        shares[best] += rest > 0 ? 1 : -1
        rest += rest > 0 ? -1 : 1
    }
    return shares
}

/// value * factor / divisor, rounded down.
private func mulDiv(_ value: Int, _ factor: Int, _ divisor: Int) -> Int {
    divisor.dividingFullWidth(value.multipliedFullWidth(by: factor)).quotient
}

/// Number of bits of the symbols, in units of 2^-16 bits.
///
/// - Precondition: symbols with a nonzero count have a nonzero frequency.
private func cost(_ symbolCounts: [Int], _ model: FrequencyModel) -> Int {
    zip(symbolCounts, model.frequencies).reduce(0) { sum, symbol in
        guard symbol.0 > 0 else { return sum }
        return sum + symbol.0 * ((model.precision << 16) - binaryLogarithm(symbol.1))
    }
}

/// log2(number) in units of 2^-16, rounded down.
///
/// - Precondition: 1 <= number < 2^31.
func binaryLogarithm(_ number: Int) -> Int {
    let exponent = Int.bitWidth - 1 - number.leadingZeroBitCount
    // The mantissa in [1, 2) with 31 fraction bits: each squaring gives one more bit of its logarithm.
    var mantissa = UInt64(number) << UInt64(31 - exponent)
    var logarithm = exponent
    for _ in 0..<16 {
        mantissa = (mantissa * mantissa) >> 31
        let bit = mantissa >> 32
        logarithm = logarithm << 1 | Int(bit)
        mantissa >>= bit
    }
    return logarithm
}
