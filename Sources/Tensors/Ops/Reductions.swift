// SPDX-License-Identifier: Apache-2.0
// Sums and means.

import CKernels

extension Tensor {
    /// The sum of all elements, shape `[]`.
    public func sum() -> Tensor {
        let own = shape
        let output = Tensor(scalar: kernels.sum(pointer, count))
        return .custom("sum", inputs: [self], output: output) { [.full(own, $0.item)] }
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
        let kept = shape.enumerated().map { axes.contains($0.offset) ? 1 : $0.element }
        let target = keepDims ? kept : shape.enumerated().filter { !axes.contains($0.offset) }.map(\.element)
        let own = shape
        return .custom("sum", inputs: [self], output: summedWithoutTape(axes).reshaped(target)) { g in
            [g.reshaped(kept).expanded(own)]
        }
    }

    /// Sums axis runs one at a time, the innermost by a reduction, outer ones by adding rows.
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
        let grain = max(elementwiseGrain / max(length * inner, 1), 1)
        if inner == 1 {
            Threads.parallelFor(outer, grain: grain) { range in
                for row in range { result.pointer[row] = kernels.sum(pointer + row * length, length) }
            }
        } else if outer > 1 {
            Threads.parallelFor(outer, grain: grain) { range in
                for row in range {
                    kernels.add_rows(
                        pointer + row * length * inner, result.pointer + row * inner, length, inner)
                }
            }
        } else {
            kernels.add_rows(pointer, result.pointer, length, inner)
        }
        return result
    }
}
