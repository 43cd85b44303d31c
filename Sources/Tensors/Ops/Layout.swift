// SPDX-License-Identifier: Apache-2.0
// Reshaping, permuting, slicing, joining and nearest-neighbour resizing: operations that only move numbers.

import CKernels

extension Tensor {
    /// The same elements under another shape (one axis may be -1: what is left). Shares storage.
    public func reshaped(_ shape: [Int]) -> Tensor {
        var target = shape
        if let free = target.firstIndex(of: -1) {
            let known = target.enumerated().reduce(1) { $0 * ($1.offset == free ? 1 : $1.element) }
            precondition(known > 0 && count % known == 0, "reshaped: \(self.shape) does not fill \(shape)")
            target[free] = count / known
        }
        precondition(target.reduce(1, *) == count, "reshaped: \(self.shape) does not fill \(shape)")
        let own = self.shape
        return .custom(
            "reshape", inputs: [self], output: Tensor(storage: storage, offset: offset, shape: target)
        ) { [$0.reshaped(own)] }
    }

    /// The axes in another order: result axis i is axis `axes[i]` of this tensor.
    public func permuted(_ axes: [Int]) -> Tensor {
        precondition(
            axes.sorted() == Array(0..<rank), "permuted: \(axes) is no order of the axes of \(shape)")
        var inverse = axes
        for (position, axis) in axes.enumerated() { inverse[axis] = position }
        return .custom("permute", inputs: [self], output: permutedWithoutTape(axes)) { [inverse] in
            [$0.permuted(inverse)]
        }
    }

    /// Two axes exchanged.
    public func transposed(_ a: Int, _ b: Int) -> Tensor {
        var axes = Array(0..<rank)
        axes.swapAt(axis(a), axis(b))
        return permuted(axes)
    }

    /// The part `range` of one axis.
    public func sliced(axis: Int, _ range: Range<Int>) -> Tensor {
        let axis = self.axis(axis)
        precondition(
            range.lowerBound >= 0 && range.upperBound <= shape[axis],
            "sliced: \(range) outside axis \(axis) of \(shape)")
        var target = shape
        target[axis] = range.count
        let inner = shape[(axis + 1)...].reduce(1, *)
        let outer = shape[..<axis].reduce(1, *)
        let (length, first) = (shape[axis], range.lowerBound)
        let output = Tensor(unsafeUninitialized: target)
        copyRows(
            outer, from: self, first * inner, length * inner, to: output, 0, range.count * inner,
            range.count * inner)
        let own = shape
        return .custom("slice", inputs: [self], output: output) { g in
            let gx = Tensor.zeros(own)
            copyRows(
                outer, from: g, 0, range.count * inner, to: gx, first * inner, length * inner,
                range.count * inner)
            return [gx]
        }
    }

    /// Tensors joined along one axis; the other axes agree.
    public static func concatenated(_ parts: [Tensor], axis: Int) -> Tensor {
        guard let head = parts.first else { preconditionFailure("concatenated: no tensors") }
        let axis = head.axis(axis)
        for part in parts {
            var (a, b) = (part.shape, head.shape)
            precondition(a.count == b.count, "concatenated: \(part.shape) and \(head.shape)")
            a[axis] = 0
            b[axis] = 0
            precondition(a == b, "concatenated: \(part.shape) and \(head.shape) differ off axis \(axis)")
        }
        let lengths = parts.map { $0.shape[axis] }
        var target = head.shape
        target[axis] = lengths.reduce(0, +)
        let inner = head.shape[(axis + 1)...].reduce(1, *)
        let outer = head.shape[..<axis].reduce(1, *)
        let output = Tensor(unsafeUninitialized: target)
        var start = 0
        for (part, length) in zip(parts, lengths) {
            copyRows(
                outer, from: part, 0, length * inner, to: output, start * inner, target[axis] * inner,
                length * inner)
            start += length
        }
        return .custom("concatenate", inputs: parts, output: output) { g in
            var start = 0
            return lengths.map { length in
                defer { start += length }
                return g.sliced(axis: axis, start..<start + length)
            }
        }
    }

    /// `[N, C, H, W]` → `[N, C, 2H, 2W]`, each pixel four times.
    public func upsampledNearest2x() -> Tensor {
        precondition(rank == 4, "upsampledNearest2x: \(shape) is not [N, C, H, W]")
        return upsampledNearest(toHeight: 2 * shape[2], width: 2 * shape[3])
    }

    /// `[N, C, H, W]` → `[N, C, height, width]`; pixel (y, x) is source pixel (⌊y·H/height⌋, ⌊x·W/width⌋), as PyTorch.
    public func upsampledNearest(toHeight height: Int, width: Int) -> Tensor {
        precondition(rank == 4, "upsampledNearest: \(shape) is not [N, C, H, W]")
        let (h, w) = (shape[2], shape[3])
        let own = shape
        let rows = (0..<height).map { $0 * h / height }, columns = (0..<width).map { $0 * w / width }
        let output = Tensor(unsafeUninitialized: [shape[0], shape[1], height, width])
        let source = pointer
        Threads.parallelFor(shape[0] * shape[1], grain: max(elementwiseGrain / (height * width), 1)) {
            planes in
            for plane in planes {
                for (y, sourceY) in rows.enumerated() {
                    let from = source + (plane * h + sourceY) * w
                    let to = output.pointer + (plane * height + y) * width
                    columns.withUnsafeBufferPointer { for x in 0..<width { to[x] = from[$0[x]] } }
                }
            }
        }
        return .custom("upsampleNearest", inputs: [self], output: output) { g in
            let gx = Tensor.zeros(own)
            Threads.parallelFor(own[0] * own[1], grain: max(elementwiseGrain / (height * width), 1)) {
                planes in
                for plane in planes {
                    for (y, sourceY) in rows.enumerated() {
                        let to = gx.pointer + (plane * h + sourceY) * w
                        let from = g.pointer + (plane * height + y) * width
                        columns.withUnsafeBufferPointer { for x in 0..<width { to[$0[x]] += from[x] } }
                    }
                }
            }
            return [gx]
        }
    }

    private func permutedWithoutTape(_ axes: [Int]) -> Tensor {
        let target = axes.map { shape[$0] }
        let result = Tensor(unsafeUninitialized: target)
        guard count > 0 else { return result }
        var steps = [Int](repeating: 1, count: rank)
        for i in stride(from: rank - 2, through: 0, by: -1) { steps[i] = steps[i + 1] * shape[i + 1] }
        let sourceSteps = axes.map { steps[$0] }
        // The last source axis and the last result axis span a 2-D transpose; the rest are independent planes.
        guard let last = axes.last, last != rank - 1, let row = axes.firstIndex(of: rank - 1) else {
            return copiedRows(into: result, sourceSteps: sourceSteps)
        }
        var resultSteps = [Int](repeating: 1, count: rank)
        for i in stride(from: rank - 2, through: 0, by: -1) {
            resultSteps[i] = resultSteps[i + 1] * target[i + 1]
        }
        let planeAxes = (0..<rank).filter { $0 != row && $0 != rank - 1 }
        let planes = planeAxes.reduce(1) { $0 * target[$1] }
        // Source rows run along result axis `rank - 1`, source columns along result axis `row`.
        let (rows, columns) = (target[rank - 1], target[row])
        Threads.parallelFor(planes, grain: max(elementwiseGrain / (rows * columns), 1)) { range in
            for plane in range {
                var (rest, from, to) = (plane, 0, 0)
                for axis in planeAxes.reversed() {
                    let index = rest % target[axis]
                    rest /= target[axis]
                    from += index * sourceSteps[axis]
                    to += index * resultSteps[axis]
                }
                kernels.transpose(
                    pointer + from, result.pointer + to, rows, columns, sourceSteps[rank - 1],
                    resultSteps[row])
            }
        }
        return result
    }

    /// Permutations that keep the last axis: whole rows are copied.
    private func copiedRows(into result: Tensor, sourceSteps: [Int]) -> Tensor {
        guard rank > 0 else {
            result.pointer.update(from: pointer, count: count)
            return result
        }
        let inner = result.shape[rank - 1]
        let target = result.shape
        Threads.parallelFor(count / inner, grain: max(elementwiseGrain / inner, 1)) { rows in
            for row in rows {
                var (rest, from) = (row, 0)
                for axis in stride(from: rank - 2, through: 0, by: -1) {
                    from += rest % target[axis] * sourceSteps[axis]
                    rest /= target[axis]
                }
                (result.pointer + row * inner).update(from: pointer + from, count: inner)
            }
        }
        return result
    }
}

/// Copies `rows` runs of `length` elements between strided places of two tensors.
private func copyRows(
    _ rows: Int, from source: Tensor, _ sourceStart: Int, _ sourceStep: Int, to target: Tensor,
    _ targetStart: Int,
    _ targetStep: Int, _ length: Int
) {
    Threads.parallelFor(rows, grain: max(elementwiseGrain / max(length, 1), 1)) { range in
        for row in range {
            (target.pointer + targetStart + row * targetStep)
                .update(from: source.pointer + sourceStart + row * sourceStep, count: length)
        }
    }
}
