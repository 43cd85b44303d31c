// SPDX-License-Identifier: Apache-2.0
// The symbols of the entropy coder. With few levels, several codes form one symbol, so that a coding step is worth
// several bits and a code can take less than one bit.

/// Tuples of k codes, which are the digits of a number in base L, lowest digit first. k is the largest number with at
/// most 256 symbols L^k, and at least 1.
///
///     levels    2     3     4     5     6     7...16    17...257
///     k         8     5     4     3     3     2         1
///     symbols   256   243   256   125   216   49...256  17...257
///
/// The last tuple is padded with copies of the last code.
struct CodeTuples {
    let levels: Int
    /// k.
    let codes: Int
    /// L^k, at most 257.
    let symbols: Int

    init(levels: Int) {
        var codes = 1
        var symbols = levels
        while symbols * levels <= 256 {
            codes += 1
            symbols *= levels
        }
        self.levels = levels
        self.codes = codes
        self.symbols = symbols
    }

    /// Number of tuples of `count` codes.
    func tuples(of count: Int) -> Int {
        (count + codes - 1) / codes
    }

    /// The symbols of `codes`; a code plus `offset` is in `0..<levels`.
    func symbols<Pattern: FixedWidthInteger & UnsignedInteger>(
        of codes: UnsafeBufferPointer<Pattern>, offset: Pattern
    ) -> [UInt16] {
        let count = tuples(of: codes.count)
        let base = UInt32(levels)
        return [UInt16](unsafeUninitializedCapacity: count) { symbols, initialized in
            let completeTuples = codes.count / self.codes
            for tuple in 0..<completeTuples {
                var symbol: UInt32 = 0
                var index = (tuple + 1) * self.codes
                for _ in 0..<self.codes {
                    index -= 1
                    symbol = symbol &* base &+ UInt32(truncatingIfNeeded: codes[index] &+ offset)
                }
                symbols[tuple] = UInt16(truncatingIfNeeded: symbol)
            }
            if completeTuples < count {
                let symbol = (0..<self.codes).reversed().reduce(UInt32(0)) { symbol, digit in
                    let index = min(completeTuples * self.codes + digit, codes.count - 1)
                    return symbol &* base &+ UInt32(truncatingIfNeeded: codes[index] &+ offset)
                }
                symbols[completeTuples] = UInt16(truncatingIfNeeded: symbol)
            }
            initialized = count
        }
    }

    /// The codes of every symbol minus `offset`, in rows of eight; only the first k are used.
    func rows<Pattern: FixedWidthInteger & UnsignedInteger & SIMDScalar>(offset: Pattern) -> [SIMD8<Pattern>] {
        (0..<symbols).map { symbol in
            var row = SIMD8<Pattern>()
            var rest = symbol
            for digit in 0..<codes {
                row[digit] = Pattern(truncatingIfNeeded: rest % levels) &- offset
                rest /= levels
            }
            return row
        }
    }

    /// The frequencies of codes, given the frequencies of symbols.
    func codeCounts(_ symbolCounts: [Int]) -> [Int] {
        var counts = [Int](repeating: 0, count: levels)
        for (symbol, occurrences) in symbolCounts.enumerated() {
            var rest = symbol
            for _ in 0..<codes {
                counts[rest % levels] += occurrences
                rest /= levels
            }
        }
        return counts
    }
}
