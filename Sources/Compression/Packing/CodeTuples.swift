// SPDX-License-Identifier: Apache-2.0
// The symbols of the entropy coder: few levels are coded several codes at a time, so that each step of the coder is
// worth about as much, and codes that take less than a bit can be told apart.

/// Tuples of k codes, the digits of one number in base L, the first code the lowest digit. k is the largest that keeps
/// the L^k symbols at 256 or fewer, at least 1.
///
///     levels    2     3     4     5     6     7...16    17...257
///     k         8     5     4     3     3     2         1
///     symbols   256   243   256   125   216   49...256  17...257
///
/// The last tuple is filled up with the last code, over and over.
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

    /// The tuples that `count` codes take.
    func tuples(of count: Int) -> Int {
        (count + codes - 1) / codes
    }

    /// The symbols of `codes`, each of which, plus `offset`, is in `0..<levels`.
    func symbols<Pattern: FixedWidthInteger & UnsignedInteger>(
        of codes: UnsafeBufferPointer<Pattern>, offset: Pattern
    ) -> [UInt16] {
        let count = tuples(of: codes.count)
        let base = UInt32(levels)
        return [UInt16](unsafeUninitializedCapacity: count) { symbols, initialized in
            let whole = codes.count / self.codes
            for tuple in 0..<whole {
                var symbol: UInt32 = 0
                var index = (tuple + 1) * self.codes
                for _ in 0..<self.codes {
                    index -= 1
                    symbol = symbol &* base &+ UInt32(truncatingIfNeeded: codes[index] &+ offset)
                }
                symbols[tuple] = UInt16(truncatingIfNeeded: symbol)
            }
            if whole < count {
                let symbol = (0..<self.codes).reversed().reduce(UInt32(0)) { symbol, digit in
                    let index = min(whole * self.codes + digit, codes.count - 1)
                    return symbol &* base &+ UInt32(truncatingIfNeeded: codes[index] &+ offset)
                }
                symbols[whole] = UInt16(truncatingIfNeeded: symbol)
            }
            initialized = count
        }
    }

    /// The codes of every symbol, less `offset`, in rows of eight of which the first k count.
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

    /// How often each code occurs in symbols that occur `symbolCounts` times.
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
