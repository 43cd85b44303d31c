// SPDX-License-Identifier: Apache-2.0
// Axes in another order: runs of axes that stay together count as one, and what is left is copies of rows or 2-D
// transposes.

import CKernels

extension Tensor {
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

    private func permutedWithoutTape(_ axes: [Int]) -> Tensor {
        let result = Tensor(unsafeUninitialized: axes.map { shape[$0] })
        guard count > 0 else { return result }
        let permutation = Permutation(shape, axes)
        if permutation.keepsRows {
            permutation.copyRows(from: pointer, to: result.pointer)
        } else {
            permutation.transpose(from: pointer, to: result.pointer)
        }
        return result
    }
}

/// An order of axes, with axes of length 1 dropped and neighbours that stay neighbours joined.
private struct Permutation: Sendable {
    /// Lengths of the result's axes, and how far apart neighbours along them are in source and result.
    private var lengths: [Int] = []
    private var sourceSteps: [Int] = [], resultSteps: [Int] = []

    init(_ shape: [Int], _ axes: [Int]) {
        var steps = [Int](repeating: 1, count: shape.count)
        for i in stride(from: shape.count - 2, through: 0, by: -1) { steps[i] = steps[i + 1] * shape[i + 1] }
        for axis in axes where shape[axis] != 1 {
            if let last = sourceSteps.last, last == steps[axis] * shape[axis] {
                lengths[lengths.count - 1] *= shape[axis]
                sourceSteps[sourceSteps.count - 1] = steps[axis]
            } else {
                lengths.append(shape[axis])
                sourceSteps.append(steps[axis])
            }
        }
        resultSteps = [Int](repeating: 1, count: lengths.count)
        for i in stride(from: lengths.count - 2, through: 0, by: -1) {
            resultSteps[i] = resultSteps[i + 1] * lengths[i + 1]
        }
    }

    /// Whether result rows are rows of the source.
    var keepsRows: Bool { sourceSteps.last ?? 1 == 1 }

    /// Where the part with index `part` among all combinations of `axes` begins.
    private func offsets(_ part: Int, _ axes: [Int]) -> (source: Int, result: Int) {
        var (rest, source, result) = (part, 0, 0)
        for axis in axes.reversed() {
            let index = rest % lengths[axis]
            rest /= lengths[axis]
            source += index * sourceSteps[axis]
            result += index * resultSteps[axis]
        }
        return (source, result)
    }

    func copyRows(from source: UnsafePointer<Float>, to result: UnsafeMutablePointer<Float>) {
        let inner = lengths.last ?? 1
        let outer = Array(lengths.indices.dropLast())
        nonisolated(unsafe) let (source, result) = (source, result)
        Threads.parallelFor(
            outer.reduce(1) { $0 * lengths[$1] }, grain: max(elementwiseGrain / inner, 1)
        ) { rows in
            for row in rows {
                let start = offsets(row, outer)
                (result + start.result).update(from: source + start.source, count: inner)
            }
        }
    }

    /// The source's last axis and the result's span 2-D transposes; all other axes number them.
    func transpose(from source: UnsafePointer<Float>, to result: UnsafeMutablePointer<Float>) {
        guard let along = sourceSteps.firstIndex(of: 1) else { return }
        let last = lengths.count - 1
        let planes = lengths.indices.filter { $0 != along && $0 != last }
        // Few large planes are cut into bands of source columns, which are whole rows of the result.
        let (rows, columns) = (lengths[last], lengths[along])
        let band = max(4 * elementwiseGrain / rows / 16 * 16, 64)
        let bands = (columns + band - 1) / band
        let count = planes.reduce(1) { $0 * lengths[$1] }
        nonisolated(unsafe) let (source, result) = (source, result)
        Threads.parallelFor(count * bands, grain: max(elementwiseGrain / (rows * min(band, columns)), 1)) {
            for part in $0 {
                let (start, first) = (offsets(part / bands, planes), part % bands * band)
                kernels.transpose(
                    source + start.source + first, result + start.result + first * resultSteps[along], rows,
                    min(band, columns - first), sourceSteps[last], resultSteps[along])
            }
        }
    }
}
