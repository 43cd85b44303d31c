// SPDX-License-Identifier: Apache-2.0
// One line of the benchmarks: what is computed, by whom, and what it is held against.

import BitsFusion

/// The parts that can be run on their own.
enum BenchmarkGroup: String, Codable, CaseIterable {
    case kernels, forward, train, packed, analyze, allocate
}

/// The element type that PyTorch's twin computes in; ours is always Float32.
enum TwinType: String, Codable, CaseIterable {
    case float32, bfloat16
}

/// A largest ratio of our median time to PyTorch's, by the twin's type.
struct RatioTargets: Codable, Equatable {
    var float32: Double?
    var bfloat16: Double?

    subscript(type: TwinType) -> Double? { type == .float32 ? float32 : bfloat16 }
}

/// The largest difference of two results that still counts as the same, as a share of the largest value.
struct Tolerances: Codable, Equatable {
    /// Between two Float32 computations that add in another order.
    var float32: Double
    /// Against a twin whose every operand has 8 bits of precision.
    var bfloat16: Double

    /// The library's own parity of outputs with diffusers; bfloat16 rounds operands to 1/256, which sums of many products average out.
    static let output = Tolerances(float32: 1e-4, bfloat16: 2e-2)
    /// Its parity of gradients and of what an update makes of weights.
    static let gradient = Tolerances(float32: 1e-3, bfloat16: 2e-2)
    /// The output of a whole network, through which bfloat16's roundings add up.
    static let network = Tolerances(float32: 1e-4, bfloat16: 5e-2)

    /// The gradients of a whole network: in Float32 each parameter's by itself, in bfloat16 all of them together.
    static let training = Tolerances(float32: 1e-3, bfloat16: 2e-1)

    /// One layer whose inputs are rounded to 8-bit integers, a half of 1/127 of each token's or pixel's largest.
    static let rounded = Tolerances(float32: 2e-2, bfloat16: 3e-2)
    /// A whole network of such layers.
    static let roundedNetwork = Tolerances(float32: 8e-2, bfloat16: 1e-1)

    subscript(type: TwinType) -> Double { type == .float32 ? float32 : bfloat16 }
}

/// A point of a curve: cost over the size of the work.
struct CurvePoint: Codable, Equatable {
    /// Names the curve.
    let curve: String
    /// What is counted: "samples", "pixels".
    let unit: String
    /// How many of them this case computes.
    let count: Int
}

/// Bytes that a side of a large case needs, so that it is left out rather than ended by the system.
struct MemoryNeeds {
    let ours, twin: Int
}

/// Another way of computing the same, which the library could have chosen.
struct Alternative {
    let name: String
    /// Runs something with that way forced.
    let forcing: (() throws -> Void) throws -> Void
}

/// One benchmark.
struct BenchmarkCase {
    /// What `--filter` looks at; unique.
    let name: String
    let group: BenchmarkGroup
    /// The twin's operation in `Benchmarks/pytorch`, and its settings.
    let operation: String
    var options: [String: Int] = [:]
    var text: [String: String] = [:]
    /// Floating-point operations of a pass, 2 per multiply-add, convolutions counted directly; nil where memory is the
    /// limit.
    var operations: Double?
    /// Bytes that a pass must read and write at least; for passes whose limit is memory.
    var bytes: Double?
    /// PyTorch's sides; none for a setting that PyTorch has not.
    var twins: [TwinType] = TwinType.allCases
    /// Twins that run only where they are asked for.
    var optionalTwins: [TwinType] = []
    var tolerances = Tolerances.output
    var targets = RatioTargets()
    var curve: CurvePoint?
    /// Where both sides at once do not fit into memory: then one runs after the other, if its memory is there.
    var needs: MemoryNeeds?
    /// What our peak resident size must not exceed, in bytes.
    var peakLimit: Int?
    /// Ways that the library's own choice is held against.
    var alternatives: [Alternative] = []
    let make: () throws -> Workload
}
