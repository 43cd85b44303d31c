// SPDX-License-Identifier: Apache-2.0
// AdamW's pass over all parameters: hundreds of tensors, from a few values to millions, cut into chunks that threads take
// one after the other, so that neither small nor large tensors leave a thread waiting.

import CKernels
import Tensors

/// A part of one parameter.
struct AdamWChunk {
    /// The parameter's place in the optimizer's list.
    let slot: Int
    let elements: Range<Int>

    /// Elements of a chunk: large enough to hide the hand-out; a multiple of 64, the group of random bits.
    private static let size = 1 << 15

    /// Parameters of `counts` elements, cut.
    static func cut(_ counts: [Int]) -> [AdamWChunk] {
        counts.enumerated().flatMap { slot, count in
            stride(from: 0, to: count, by: size).map {
                AdamWChunk(slot: slot, elements: $0..<min($0 + size, count))
            }
        }
    }

    /// Σ g² over this part of a gradient.
    func squaredSum(_ gradient: Tensor) -> Double {
        gradient.withUnsafeBufferPointer { values in
            kernels.squared_sum(UnsafeBufferPointer(rebasing: values[elements]).baseAddress, elements.count)
        }
    }
}

/// Everything that the update of one parameter reads and writes.
struct AdamWWork {
    private let parameter: Parameter
    private let gradient: Tensor?
    private let moments: OptimizerMoments?
    private let average: Tensor?
    private let update: bf_adamw
    private let rounding: bf_rounding

    /// A parameter without a gradient stays; its average moves all the same.
    ///
    /// - Precondition: gradient, moments and average have the parameter's shape.
    init(
        _ parameter: Parameter, _ moments: OptimizerMoments?, _ average: Tensor?, _ update: bf_adamw,
        _ rounding: bf_rounding
    ) {
        precondition(
            (parameter.gradient?.shape ?? parameter.shape) == parameter.shape,
            "AdamW: gradient \(parameter.gradient?.shape ?? []) for \(parameter.name) \(parameter.shape)")
        self.parameter = parameter
        gradient = parameter.gradient
        self.moments = moments
        self.average = average
        self.update = update
        self.rounding = rounding
    }

    /// Updates `elements`, whose first is a multiple of 64.
    func run(_ elements: Range<Int>) {
        let (first, count) = (elements.lowerBound, elements.count)
        let values = parameter.value.mutablePointer + first
        let averages = average.map { $0.mutablePointer + first }
        guard let gradients = gradient.map({ UnsafePointer($0.pointer + first) }) else {
            if let averages { kernels.lerp(averages, values, update.average_rate, count) }
            return
        }
        withUnsafePointer(to: update) { update in
            switch moments {
            case .float32(let mean, let square):
                kernels.adamw(
                    values, gradients, mean.mutablePointer + first, square.mutablePointer + first, averages, count,
                    update)
            case .bfloat16(let mean, let square):
                withUnsafePointer(to: rounding) { rounding in
                    kernels.adamw_bfloat(
                        values, gradients, mean.pointer + first, square.pointer + first, averages, count,
                        update, rounding, first)
                }
            case nil: preconditionFailure("\(parameter.name): the optimizer has no moments for it")
            }
        }
    }
}
