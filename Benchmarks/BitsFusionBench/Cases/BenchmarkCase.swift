// SPDX-License-Identifier: Apache-2.0
// A benchmark case: the work, the sides, tolerances and targets.

import BitsFusion

/// Groups of cases.
enum BenchmarkGroup: String, Codable, CaseIterable {
    case kernels, forward, train, packed, pipeline, dataset, analyze, allocate
}

/// The maximum ratio of our median time to PyTorch's, by element type.
struct RatioTargets: Codable, Equatable {
    var float32: Double?
    var bfloat16: Double?

    subscript(type: TwinType) -> Double? { type == .float32 ? float32 : bfloat16 }
}

/// Maximum difference of equal results, relative to the largest value.
struct Tolerances: Codable, Equatable {
    /// For Float32, where sums have a different order.
    var float32: Double
    /// For bfloat16, where operands have 8 bits of precision.
    var bfloat16: Double

    /// Outputs of single operations.
    static let output = Tolerances(float32: 1e-4, bfloat16: 2e-2)
    /// Gradients, and weights after an update.
    static let gradient = Tolerances(float32: 1e-3, bfloat16: 2e-2)
    /// The output of a whole network, in which rounding errors of bfloat16 accumulate.
    static let network = Tolerances(float32: 1e-4, bfloat16: 5e-2)

    /// The gradients of a whole network: per parameter in Float32, all parameters together in bfloat16.
    static let training = Tolerances(float32: 1e-3, bfloat16: 2e-1)

    /// One layer with dynamic activation quantization to int8.
    static let quantized = Tolerances(float32: 2e-2, bfloat16: 3e-2)
    /// A whole network of such layers.
    static let quantizedNetwork = Tolerances(float32: 8e-2, bfloat16: 1e-1)

    /// Pixels of an image that such a network sampled: differences of predictions accumulate over the steps.
    static let quantizedImage = Tolerances(float32: 2e-1, bfloat16: 2e-1)

    subscript(type: TwinType) -> Double { type == .float32 ? float32 : bfloat16 }
}

/// A point of a curve of cost against problem size.
struct CurvePoint: Codable, Equatable {
    /// The name of the curve.
    let curve: String
    /// The unit of `count`: "samples", "pixels".
    let unit: String
    /// The problem size of this case.
    let count: Int
}

/// Bytes of memory that each side of a large case needs; a side is skipped if they are not available.
struct MemoryNeeds {
    let ours, twin: Int
}

/// An alternative algorithm for the same result.
struct Alternative {
    let name: String
    /// Calls a function with this algorithm selected.
    let forcing: (() throws -> Void) throws -> Void
}

/// One benchmark case.
struct BenchmarkCase {
    /// The unique name, matched by `--filter`.
    let name: String
    let group: BenchmarkGroup
    /// The operation in `Benchmarks/pytorch`, and its settings.
    let operation: String
    var options: [String: Int] = [:]
    var text: [String: String] = [:]
    /// Floating-point operations of a pass, 2 per multiply-add, with direct convolutions; nil for memory-bound passes.
    var operations: Double?
    /// Minimum bytes read and written by a pass; for memory-bound passes.
    var bytes: Double?
    /// The PyTorch processes; none for settings without an equivalent in PyTorch.
    var twins: [TwinType] = TwinType.allCases
    /// PyTorch processes that run on request only.
    var optionalTwins: [TwinType] = []
    var tolerances = Tolerances.output
    var targets = RatioTargets()
    var curve: CurvePoint?
    /// Set if both sides together do not fit into memory: sides then run one after the other.
    var needs: MemoryNeeds?
    /// Maximum peak resident size of our process in bytes.
    var peakLimit: Int?
    /// Whether a pass takes minutes: few passes are measured, and the one that computes the results is the warm-up.
    var hasLongPasses = false
    /// Algorithms that are compared with the selected one.
    var alternatives: [Alternative] = []
    let make: () throws -> Workload
}

extension BenchmarkCase {
    /// All cases, in the order of execution.
    static var all: [BenchmarkCase] {
        ConvolutionCases.all + ProductCases.all + MemoryBoundCases.all + ForwardCases.all + TrainingCases.all
            + StageOneCases.all + PackedCases.all + AutoencoderCases.all + SampleCases.all + DataSetCases.all
            + AnalysisCases.all + AllocationCases.all
    }
}
