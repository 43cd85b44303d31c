// SPDX-License-Identifier: Apache-2.0
// The passes of AdamW over all parameters: hundreds of tensors, from a few values to millions, split into chunks that
// the threads process one after the other, so that no thread waits for a large tensor.

import CKernels
import Tensors

/// A part of one parameter.
struct AdamWChunk {
    /// The index of the parameter in the optimizer's list.
    let slot: Int
    let elements: Range<Int>

    /// Elements of a chunk: a multiple of 64, the group of random bits, and large compared to the scheduling overhead.
    private static let size = 1 << 15

    /// The chunks of parameters of `counts` elements.
    static func cut(_ counts: [Int]) -> [AdamWChunk] {
        counts.enumerated().flatMap { slot, count in
            stride(from: 0, to: count, by: size).map {
                AdamWChunk(slot: slot, elements: $0..<min($0 + size, count))
            }
        }
    }

    /// Σ g² over this part of a gradient, whose first value is that of element `first`.
    func squaredSum(_ gradient: Tensor, from first: Int) -> Double {
        gradient.withUnsafeBufferPointer { values in
            let part = values[elements.lowerBound - first..<elements.upperBound - first]
            return kernels.squared_sum(UnsafeBufferPointer(rebasing: part).baseAddress, elements.count)
        }
    }
}

/// The tensors and settings of the update of one parameter.
struct AdamWWork {
    private let parameter: Parameter
    /// The elements of gradient and moments.
    private let own: Range<Int>
    private let gradient: Tensor?
    private let moments: OptimizerMoments?
    private let average: Tensor?
    private let update: bf_adamw
    private let rounding: bf_rounding

    /// A parameter without a gradient does not change, but its average is updated.
    ///
    /// - Precondition: gradient and moments have `own` elements, the average those of the parameter.
    init(
        _ parameter: Parameter, _ own: Range<Int>, _ moments: OptimizerMoments?, _ average: Tensor?,
        _ update: bf_adamw, _ rounding: bf_rounding
    ) {
        precondition(
            parameter.gradient.map { $0.count == own.count } ?? true,
            "AdamW: gradient \(parameter.gradient?.shape ?? []) for \(own) of \(parameter.name) \(parameter.shape)")
        self.parameter = parameter
        self.own = own
        gradient = parameter.gradient
        self.moments = moments
        self.average = average
        self.update = update
        self.rounding = rounding
    }

    /// Updates `elements`, whose first is a multiple of 64.
    func run(_ elements: Range<Int>) {
        let (first, count) = (elements.lowerBound, elements.count)
        let start = first - own.lowerBound
        let values = parameter.value.mutablePointer + first
        let averages = average.map { $0.mutablePointer + first }
        guard let gradients = gradient.map({ UnsafePointer($0.pointer + start) }) else {
            if let averages { kernels.lerp(averages, values, update.average_rate, count) }
            return
        }
        withUnsafePointer(to: update) { update in
            switch moments {
            case .float32(let mean, let square):
                kernels.adamw(
                    values, gradients, mean.mutablePointer + start, square.mutablePointer + start, averages, count,
                    update)
            case .bfloat16(let mean, let square):
                withUnsafePointer(to: rounding) { rounding in
                    kernels.adamw_bfloat(
                        values, gradients, mean.pointer + start, square.pointer + start, averages, count,
                        update, rounding, first)
                }
            case nil: preconditionFailure("\(parameter.name): the optimizer has no moments for it")
            }
        }
    }
}

/// The moments of one parameter, or of a part of it: running means of its gradient and of the square.
package enum OptimizerMoments {
    case float32(first: Tensor, second: Tensor)
    case bfloat16(first: Tensor16, second: Tensor16)

    /// All zeros.
    init(zeros shape: [Int], type: ElementType) {
        if type == .float32 {
            self = .float32(first: .zeros(shape), second: .zeros(shape))
        } else {
            self = .bfloat16(
                first: Tensor16(zeros: shape, type: .bfloat16),
                second: Tensor16(zeros: shape, type: .bfloat16))
        }
    }

    /// The mean of the gradient, in Float32.
    package var first: Tensor {
        switch self {
        case .float32(let first, _): first
        case .bfloat16(let first, _): first.widened()
        }
    }

    /// The mean of its square, in Float32.
    package var second: Tensor {
        switch self {
        case .float32(_, let second): second
        case .bfloat16(_, let second): second.widened()
        }
    }

    /// Moments of the same precision with copies of other values. Values that have this precision are restored exactly.
    func replaced(first: Tensor, second: Tensor) -> OptimizerMoments {
        switch self {
        case .float32: return .float32(first: first.copied(), second: second.copied())
        case .bfloat16(let present, let presentSquare):
            present.assign(first)
            presentSquare.assign(second)
            return self
        }
    }
}
