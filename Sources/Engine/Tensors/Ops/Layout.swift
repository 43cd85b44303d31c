// SPDX-License-Identifier: Apache-2.0
// Reshaping, slicing and concatenation.

extension Tensor {
    /// The same elements with another shape; one axis may be -1 and is then inferred. Shares storage.
    public func reshaped(_ shape: [Int]) -> Tensor {
        var target = shape
        if let free = target.firstIndex(of: -1) {
            let known = target.enumerated().reduce(1) { $0 * ($1.offset == free ? 1 : $1.element) }
            precondition(
                known > 0 && count % known == 0, "reshaped: \(self.shape) to \(shape): the number of elements differs")
            target[free] = count / known
        }
        precondition(
            target.reduce(1, *) == count, "reshaped: \(self.shape) to \(shape): the number of elements differs")
        let inputShape = self.shape
        return .custom(
            "reshape", inputs: [self], output: Tensor(storage: storage, offset: offset, shape: target)
        ) { [$0.reshaped(inputShape)] }
    }

    /// The elements with indices `range` along one axis.
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
        let inputShape = shape
        return .custom("slice", inputs: [self], output: output) { g in
            let gx = Tensor.zeros(inputShape)
            copyRows(
                outer, from: g, 0, range.count * inner, to: gx, first * inner, length * inner,
                range.count * inner)
            return [gx]
        }
    }

    /// Overwrites the elements with indices from `start` on along one axis with `part`, off the tape; all other axes
    /// must agree. Only for code that created this tensor and has not shared it yet.
    package func overwrite(axis: Int, from start: Int, with part: Tensor) {
        let axis = self.axis(axis)
        let length = part.rank == rank ? part.shape[axis] : 0
        var expected = shape
        expected[axis] = length
        precondition(
            part.shape == expected && start >= 0 && start + length <= shape[axis],
            "overwrite: \(part.shape) from \(start) on along axis \(axis) of \(shape)")
        let inner = shape[(axis + 1)...].reduce(1, *)
        copyRows(
            shape[..<axis].reduce(1, *), from: part, 0, length * inner, to: self, start * inner, shape[axis] * inner,
            length * inner)
    }

    /// The concatenation of tensors along one axis; all other axes must agree.
    public static func concatenated(_ parts: [Tensor], axis: Int) -> Tensor {
        guard let head = parts.first else { preconditionFailure("concatenated: no tensors") }
        let axis = head.axis(axis)
        for part in parts {
            var (a, b) = (part.shape, head.shape)
            precondition(a.count == b.count, "concatenated: \(part.shape) and \(head.shape)")
            a[axis] = 0
            b[axis] = 0
            precondition(a == b, "concatenated: \(part.shape) and \(head.shape) differ in an axis other than \(axis)")
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
                // Contiguous parts need no copy.
                guard outer > 1 else {
                    let shape = g.shape.enumerated().map { $0.offset == axis ? length : $0.element }
                    return Tensor(storage: g.storage, offset: g.offset + start * inner, shape: shape)
                }
                return g.sliced(axis: axis, start..<start + length)
            }
        }
    }
}

/// Copies `rows` runs of `length` elements between strided positions of two tensors; long runs are split.
private func copyRows(
    _ rows: Int, from source: Tensor, _ sourceStart: Int, _ sourceStep: Int, to target: Tensor,
    _ targetStart: Int, _ targetStep: Int, _ length: Int
) {
    let piece = min(max(length, 1), 2 * elementwiseGrain)
    let pieces = (length + piece - 1) / piece
    Threads.parallelFor(rows * pieces, grain: Threads.rowGrain(piece)) { range in
        for index in range {
            let (row, first) = (index / pieces, index % pieces * piece)
            (target.pointer + targetStart + row * targetStep + first).update(
                from: source.pointer + sourceStart + row * sourceStep + first,
                count: min(piece, length - first))
        }
    }
}
