// SPDX-License-Identifier: Apache-2.0
// Sums and means.

import CKernels

extension Tensor {
    /// The sum of all elements, shape `[]`.
    public func sum() -> Tensor {
        let inputShape = shape
        let output = Tensor(scalar: Float(totalInBlocks(count) { Double(kernels.sum(pointer + $0, $1)) }))
        return .custom("sum", inputs: [self], output: output) { [.full(inputShape, $0.item)] }
    }

    /// The mean of all elements, shape `[]`.
    public func mean() -> Tensor { sum() / Float(count) }

    /// The mean over `axes`.
    public func mean(axes: [Int], keepDims: Bool = false) -> Tensor {
        let summed = axes.reduce(1) { $0 * shape[axis($1)] }
        return sum(axes: axes, keepDims: keepDims) / Float(summed)
    }

    /// The sum over `axes` (negative ones count from the end).
    public func sum(axes: [Int], keepDims: Bool = false) -> Tensor {
        let axes = Set(axes.map(axis))
        let reducedShape = shape.enumerated().map { axes.contains($0.offset) ? 1 : $0.element }
        let target = keepDims ? reducedShape : shape.enumerated().filter { !axes.contains($0.offset) }.map(\.element)
        let inputShape = shape
        return .custom("sum", inputs: [self], output: summedWithoutTape(axes).reshaped(target)) { g in
            [g.reshaped(reducedShape).expanded(inputShape)]
        }
    }

    /// Sums runs of adjacent axes one at a time: the innermost by a reduction, outer ones by adding rows.
    private func summedWithoutTape(_ axes: Set<Int>) -> Tensor {
        var current = detached()
        var axis = rank - 1
        while axis >= 0 {
            guard axes.contains(axis) else {
                axis -= 1
                continue
            }
            var first = axis
            while first > 0 && axes.contains(first - 1) { first -= 1 }
            current = current.summedRun(first...axis)
            axis = first - 1
        }
        return current
    }

    private func summedRun(_ run: ClosedRange<Int>) -> Tensor {
        let outer = shape[..<run.lowerBound].reduce(1, *)
        let length = shape[run].reduce(1, *)
        let inner = shape[(run.upperBound + 1)...].reduce(1, *)
        var target = shape
        for axis in run { target[axis] = 1 }
        let result = Tensor.zeros(target)
        if outer * inner == 1 {
            result.pointer[0] = Float(totalInBlocks(length) { Double(kernels.sum(pointer + $0, $1)) })
            return result
        }
        if inner == 1 {
            Threads.parallelFor(outer, grain: Threads.rowGrain(length)) { range in
                for row in range { result.pointer[row] = kernels.sum(pointer + row * length, length) }
            }
            return result
        }
        // Rows are summed in parts that depend on the shape only, then the parts are summed.
        let part = max(4 * elementwiseGrain / max(inner, 1), 64)
        let parts = max((length + part - 1) / part, 1)
        let sums = parts == 1 ? result : Tensor.zeros([outer, parts, inner])
        Threads.parallelFor(
            outer * parts, grain: Threads.rowGrain(min(part, length) * inner)
        ) { range in
            for index in range {
                let (row, first) = (index / parts, index % parts * part)
                kernels.add_rows(
                    pointer + (row * length + first) * inner, sums.pointer + index * inner,
                    min(part, length - first), inner)
            }
        }
        guard parts > 1 else { return result }
        for row in 0..<outer {
            kernels.add_rows(sums.pointer + row * parts * inner, result.pointer + row * inner, parts, inner)
        }
        return result
    }
}

/// The sum of `body(start, count)` over blocks of `0..<count`, in a fixed order that does not depend on the number of
/// threads.
func totalInBlocks(_ count: Int, _ body: (_ start: Int, _ count: Int) -> Double) -> Double {
    let block = 8 * elementwiseGrain
    let blocks = (count + block - 1) / block
    guard blocks > 1 else { return count > 0 ? body(0, count) : 0 }
    let totals = [Double](unsafeUninitializedCapacity: blocks) { buffer, initialized in
        guard let totals = buffer.baseAddress else { return }
        Threads.parallelFor(blocks) { range in
            for index in range { totals[index] = body(index * block, min(block, count - index * block)) }
        }
        initialized = blocks
    }
    return totals.reduce(0, +)
}
