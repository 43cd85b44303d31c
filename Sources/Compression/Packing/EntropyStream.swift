// SPDX-License-Identifier: Apache-2.0
// The stream of the entropy coder: what its bytes mean, and its header. Static range asymmetric numeral systems (rANS,
// Duda, arXiv 1311.2540) with interleaved lanes (Giesen, arXiv 1402.3392).

/// A stream of entropy-coded codes. No codes take no bytes. All numbers are little-endian.
///
///     byte 0    bits 0...3   model: 0 radix, 1 codes, 2 tuples
///               bits 4...7   model 1 and 2: P, where frequencies add up to M = 2^P, P = 8...14; model 0: 0
///     model 0, where nothing else is smaller:
///     byte 1...              the codes as `PackingEncoding.radix` has them
///     model 1 and 2:
///     byte 1                 log2 of the number of lanes, 0...8
///     ...                    frequencies, see `FrequencyModel`, up to the next byte
///     ...                    the lanes' states, uint32 each, each >= 2^16
///     ...                    words, uint16 each
///
/// Symbol s (see `CodeTuples`) owns the `frequency[s]` numbers from `start[s]`, the sum of the frequencies before it,
/// among 0..<M. Tuple t is in lane t % lanes. To read a symbol from a lane's state x, in the order of the tuples:
///
///     s = the owner of x % M
///     x = frequency[s] * (x / M) + x % M - start[s]
///     x = 2^16 x + the next word       if x < 2^16
///
/// After the last symbol every state is 2^16 and no word is left.
struct EntropyStream {
    /// What says how frequent symbols are.
    enum Model: UInt8 {
        /// Nothing does: radix groups follow.
        case radix
        /// Frequencies of the codes, which are independent of each other.
        case codes
        /// Frequencies of the tuples.
        case tuples
    }

    /// The P that streams may have.
    static let precisions = 8...14
    /// The binary logarithms of the numbers of lanes that streams may have. Many lanes are what vector instructions
    /// and NumPy decode fast; each costs about three bytes.
    static let laneLogarithms = 0...8
    /// The state in which lanes begin when they are written and end when they are read.
    static let firstState: UInt32 = 1 << 16

    let model: Model
    /// P.
    let precision: Int
    let laneLogarithm: Int

    var lanes: Int { 1 << laneLogarithm }

    /// Bytes 0 and 1.
    var header: [UInt8] {
        [model.rawValue | UInt8(precision) << 4, UInt8(laneLogarithm)]
    }

    /// The single byte before radix groups.
    static var radixHeader: UInt8 { Model.radix.rawValue }

    init(model: Model, precision: Int, laneLogarithm: Int) {
        self.model = model
        self.precision = precision
        self.laneLogarithm = laneLogarithm
    }

    /// Reads the header of a stream that is not in radix groups.
    ///
    /// - Throws: `PackingError.streamCutOff`, `.unknownStreamHeader`.
    init(_ bytes: UnsafeRawBufferPointer, tuples: CodeTuples) throws(PackingError) {
        guard bytes.count >= 2 else { throw .streamCutOff(part: "header", bytes: bytes.count) }
        let precision = Int(bytes[0] >> 4)
        guard let model = Model(rawValue: bytes[0] & 15), model != .radix,
            model == .tuples || tuples.codes > 1,
            Self.precisions.contains(precision), Self.laneLogarithms.contains(Int(bytes[1]))
        else { throw .unknownStreamHeader(bytes: [bytes[0], bytes[1]]) }
        self.init(model: model, precision: precision, laneLogarithm: Int(bytes[1]))
    }
}
