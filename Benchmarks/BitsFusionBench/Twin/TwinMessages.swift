// SPDX-License-Identifier: Apache-2.0
// What is said between this program and PyTorch's side: one JSON object a line, in both directions.

/// A line to the twin; every request is answered by one `TwinAnswer`.
struct TwinRequest: Encodable {
    enum Command: String, Encodable {
        /// Says what the twin is.
        case hello
        /// Builds an operation from the tensors in `inputs`.
        case prepare
        /// Computes once and writes the results to `outputs`.
        case results
        /// Makes the present resident size the peak.
        case resetPeak = "reset_peak"
        /// Measures passes.
        case measure
        /// The largest resident size since it was reset.
        case peak
        /// Lets go of the operation and returns its memory.
        case release
    }

    let command: Command
    var operation: String?
    var options: [String: Int]?
    var text: [String: String]?
    /// Paths of .safetensors files.
    var inputs: [String]?
    var outputs: String?
    var plan: MeasuringPlan?
}

/// A line from the twin: `error`, or what was asked for.
struct TwinAnswer: Decodable {
    var error: String?
    var torch: String?
    var capability: String?
    var threads: Int?
    var seconds: Double?
    var passes: Int?
    var peakBytes: Int?

    enum CodingKeys: String, CodingKey {
        case error, torch, capability, threads, seconds, passes
        case peakBytes = "peak_bytes"
    }
}
