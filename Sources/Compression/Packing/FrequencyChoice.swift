// SPDX-License-Identifier: Apache-2.0
// Which frequencies a stream gets: those under which the codes and the frequencies themselves take the fewest bytes.
// Integer arithmetic only, as files depend on the outcome.

/// Frequencies for symbols that occur so and so often, and what the stream will take.
struct FrequencyChoice {
    let model: FrequencyModel
    /// The bits of the symbols, in units of 2^-16 bits, rounded; less than what their states add.
    let symbolCost: Int

    /// The bytes of frequencies and symbols, without header and states.
    var byteCount: Int { (model.bitCount + 7) / 8 + (symbolCost >> 19) }

    /// The best model and precision for `symbolCounts`, which are not all zero.
    ///
    /// Among those that come within 1/4096 of the smallest the one of the lowest precision, whose tables are the
    /// smallest: 2^P words, which fit the first-level cache at P = 12.
    init(_ symbolCounts: [Int], tuples: CodeTuples) {
        let weights =
            tuples.codes == 1
            ? nil
            : sharedOut(
                tuples.codeCounts(symbolCounts), total: 1 << FrequencyModel.weightBits(tuples))
        let candidates = EntropyStream.precisions.flatMap { precision in
            [
                weights.map { FrequencyModel(weights: $0, tuples: tuples, precision: precision) },
                sharedOut(symbolCounts, total: 1 << precision)
                    .map { FrequencyModel(frequencies: $0, precision: precision) },
            ].compactMap { model in
                model.map { FrequencyChoice(model: $0, symbolCost: cost(symbolCounts, $0)) }
            }
        }
        let smallest = candidates.map(\.byteCount).min() ?? 0
        // There is one: 257 symbols find room at every precision from 9 on.
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

/// Shares `total` out in proportion to `counts`, at least 1 for each that is not zero.
///
/// One more for symbol s saves about counts[s] / (share[s] + 1/2) / ln 2 bits; so the largest of these gets what
/// rounding down leaves, and the smallest gives up what the ones take. Of equals the first.
///
/// - Returns: nil where more than `total` counts are not zero.
func sharedOut(_ counts: [Int], total: Int) -> [Int]? {
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
            // Gain of one more: counts / (2 share + 1); loss of one less: counts / (2 share - 1).
            let step = rest > 0 ? 1 : -1
            let mine = counts[symbol].multipliedFullWidth(by: 2 * shares[best] + step)
            let others = counts[best].multipliedFullWidth(by: 2 * shares[symbol] + step)
            if rest > 0 ? mine > others : mine < others { best = symbol }
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

/// What the symbols take, in 2^-16 bits.
///
/// - Precondition: symbols that occur have a frequency.
private func cost(_ symbolCounts: [Int], _ model: FrequencyModel) -> Int {
    zip(symbolCounts, model.frequencies).reduce(0) { sum, symbol in
        guard symbol.0 > 0 else { return sum }
        return sum + symbol.0 * ((model.precision << 16) - binaryLogarithm(symbol.1))
    }
}

/// log2(number), rounded down to a multiple of 2^-16, in units of it.
///
/// - Precondition: 1 <= number < 2^31.
func binaryLogarithm(_ number: Int) -> Int {
    let exponent = Int.bitWidth - 1 - number.leadingZeroBitCount
    // The mantissa in [1, 2) with 31 bits behind the point: each squaring shifts one bit of its logarithm out.
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
