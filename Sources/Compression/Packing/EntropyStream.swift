// SPDX-License-Identifier: Apache-2.0
// The format of entropy-coded streams, and their header. Static range asymmetric numeral systems (rANS; Duda,
// arXiv:1311.2540) with interleaved lanes (Giesen, arXiv:1402.3392).

/// A stream of entropy-coded codes. The stream of 0 codes is empty. All numbers are little-endian.
///
///     byte 0    bits 0...3   model: 0 radix, 1 codes, 2 tuples
///               bits 4...7   model 1 and 2: P, frequencies sum to M = 2^P, P = 8...14; model 0: 0
///     model 0 (if no other model is smaller):
///     byte 1...              the codes, encoded as `PackingEncoding.radix`
///     model 1 and 2:
///     byte 1                 log2 of the number of lanes, 0...8
///     ...                    frequencies, see `FrequencyModel`, padded to a byte
///     ...                    states of the lanes, uint32 each, each >= 2^16
///     ...                    words, uint16 each
///
/// The `frequency[s]` numbers from `start[s]` on, among 0..<M, belong to symbol s (see `CodeTuples`); `start[s]` is the
/// sum of the frequencies of earlier symbols. Tuple t is in lane t % lanes. To decode a symbol from the state x of a
/// lane, in the order of the tuples:
///
///     s = the symbol that x % M belongs to
///     x = frequency[s] * (x / M) + x % M - start[s]
///     x = 2^16 x + the next word       if x < 2^16
///
/// After the last symbol, every state is 2^16 and all words have been read.
struct EntropyStream {
    /// The frequency model of a stream.
    enum Model: UInt8 {
        /// None: radix groups follow.
        case radix
        /// Frequencies of independent codes.
        case codes
        /// Frequencies of tuples.
        case tuples
    }

    /// The supported values of P.
    static let precisions = 8...14
    /// The supported binary logarithms of the number of lanes. Many lanes can be decoded faster by vector instructions
    /// and NumPy; each lane costs about three bytes.
    static let laneLogarithms = 0...8
    /// The initial state of lanes when encoding, and the final state when decoding.
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

    /// The header byte of radix groups.
    static var radixHeader: UInt8 { Model.radix.rawValue }

    init(model: Model, precision: Int, laneLogarithm: Int) {
        self.model = model
        self.precision = precision
        self.laneLogarithm = laneLogarithm
    }

    /// Reads the header of a stream of model 1 or 2.
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
