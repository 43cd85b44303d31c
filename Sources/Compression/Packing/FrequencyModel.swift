// SPDX-License-Identifier: Apache-2.0
// The frequencies of an entropy-coded stream, and the numbers that represent them in the stream.

/// Frequencies of symbols, and the numbers in the stream that represent them.
///
/// Model `tuples` stores the frequency of every symbol; frequencies sum to M = 2^P. Model `codes` stores a weight w for
/// every code; weights sum to W = 2^R, R = min(12, 50 / k rounded down). The product of a tuple is the product of the
/// weights of its codes. A symbol with product 0 has frequency 0. The frequencies of all other symbols follow from
///
///     start[s] = n[s] + (sum of the products of symbols before s) (M - n) / W^k, rounded down
///
/// where n[s] is the number of symbols before s with a nonzero product, and n the number of all symbols with a nonzero
/// product. Each of these has a frequency of at least 1, and rounding errors do not accumulate.
///
/// Numbers are stored in a bit stream, lowest bit first: the bit length b of the number in 4 bits and, if b > 1, the
/// lowest b - 1 bits of the number. The last byte is padded with zero bits.
///
///     number   0      1      2       3       4         7         100 = 0b1100100
///     bits     0000   1000   0100 0  0100 1  1100 00   1100 11   1110 001001
struct FrequencyModel {
    let stream: EntropyStream.Model
    /// P.
    let precision: Int
    /// The numbers in the stream.
    let numbers: [Int]
    /// Indexed by symbol; the sum is 2^P.
    let frequencies: [Int]

    /// R: the weights of codes sum to 2^R. The sum of all products times 2^P is below 2^64.
    static func weightBits(_ tuples: CodeTuples) -> Int {
        min(12, 50 / tuples.codes)
    }

    /// Frequencies of symbols.
    ///
    /// - Precondition: their sum is 2^precision.
    init(frequencies: [Int], precision: Int) {
        stream = .tuples
        self.precision = precision
        numbers = frequencies
        self.frequencies = frequencies
    }

    /// Weights of codes, for tuples of at least two codes; there are at most 2^8 tuples, so that each can have a
    /// frequency.
    ///
    /// - Precondition: their sum is 2^weightBits(tuples).
    init(weights: [Int], tuples: CodeTuples, precision: Int) {
        let products = Self.products(weights, tuples)
        let occurring = products.count { $0 > 0 }
        let shared = UInt64((1 << precision) - occurring)
        let shift = UInt64(tuples.codes * Self.weightBits(tuples))
        var sum: UInt64 = 0
        var start: UInt64 = 0
        frequencies = products.map { product in
            sum += product
            let end = (sum * shared) >> shift
            defer { start = end }
            return Int(end - start) + (product > 0 ? 1 : 0)
        }
        stream = .codes
        self.precision = precision
        numbers = weights
    }

    private static func products(_ weights: [Int], _ tuples: CodeTuples) -> [UInt64] {
        (1..<tuples.codes).reduce(weights.map(UInt64.init)) { lower, _ in
            weights.flatMap { high in lower.map { $0 * UInt64(high) } }
        }
    }

    /// Reads the numbers from `bytes`.
    ///
    /// - Returns: the model and its number of bytes.
    /// - Throws: `PackingError.streamCutOff`, `.wrongFrequencySum`, `.nonZeroFrequencyPadding`.
    static func read(
        _ bytes: UnsafeRawBufferPointer, _ stream: EntropyStream, tuples: CodeTuples
    ) throws(PackingError) -> (model: FrequencyModel, byteCount: Int) {
        var position = 0
        func bits(_ count: Int) throws(PackingError) -> Int {
            guard position + count <= bytes.count * 8 else {
                throw .streamCutOff(part: "frequencies", bytes: bytes.count)
            }
            var value = 0
            for bit in 0..<count {
                value |= Int(bytes[position >> 3] >> UInt8(position & 7) & 1) << bit
                position += 1
            }
            return value
        }
        var numbers: [Int] = []
        let isOfCodes = stream.model == .codes
        for _ in 0..<(isOfCodes ? tuples.levels : tuples.symbols) {
            let length = try bits(4)
            numbers.append(length == 0 ? 0 : try 1 << (length - 1) | bits(length - 1))
        }
        let padding = try bits(-position & 7)
        guard padding == 0 else { throw .nonZeroFrequencyPadding(bits: padding) }
        let expected = 1 << (isOfCodes ? weightBits(tuples) : stream.precision)
        let sum = numbers.reduce(0, +)
        guard sum == expected else { throw .wrongFrequencySum(found: sum, expected: expected) }
        let model =
            isOfCodes
            ? FrequencyModel(weights: numbers, tuples: tuples, precision: stream.precision)
            : FrequencyModel(frequencies: numbers, precision: stream.precision)
        return (model, position / 8)
    }

    /// Number of bits of the numbers, without padding.
    var bitCount: Int {
        numbers.reduce(0) { $0 + 4 + max(0, bitLength($1) - 1) }
    }

    /// The encoded numbers.
    var bytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (bitCount + 7) / 8)
        var position = 0
        func append(_ value: Int, bits: Int) {
            for bit in 0..<bits {
                bytes[position >> 3] |= UInt8(value >> bit & 1) << UInt8(position & 7)
                position += 1
            }
        }
        for number in numbers {
            let length = bitLength(number)
            append(length, bits: 4)
            append(number, bits: max(0, length - 1))
        }
        return bytes
    }
}

private func bitLength(_ number: Int) -> Int {
    Int.bitWidth - number.leadingZeroBitCount
}
