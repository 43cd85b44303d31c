// SPDX-License-Identifier: Apache-2.0
// Messages between this program and the PyTorch process: one JSON object per line, in both directions.

/// A request to the PyTorch process; every request has one `TwinAnswer`.
struct TwinRequest: Encodable {
    enum Command: String, Encodable {
        /// Returns versions and settings.
        case hello
        /// Builds an operation from the tensors in `inputs`.
        case prepare
        /// Computes once and writes the results to `outputs`.
        case results
        /// Sets the peak to the present resident size.
        case resetPeak = "reset_peak"
        /// Measures passes.
        case measure
        /// Returns the peak resident size since the reset.
        case peak
        /// Releases the operation and its memory.
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

/// An answer of the PyTorch process: `error`, or the requested values.
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

/// The element type of a PyTorch process; this library always computes in Float32.
enum TwinType: String, Codable, CaseIterable {
    case float32, bfloat16
}

/// The settings of one measurement.
struct MeasuringPlan: Codable, Equatable {
    /// Seconds of untimed passes before the measurement, which wake the threads and fill the caches.
    var settle: Double
    /// Passes are repeated for at least this many seconds.
    var minSeconds: Double
}
