// SPDX-License-Identifier: Apache-2.0
// Permutation of axes. Adjacent axes that stay adjacent are merged; the rest is copies of rows or 2-D transposes.

import CKernels

extension Tensor {
    /// The tensor with permuted axes: axis i of the result is axis `axes[i]` of this tensor.
    public func permuted(_ axes: [Int]) -> Tensor {
        precondition(
            axes.sorted() == Array(0..<rank), "permuted: \(axes) is not a permutation of the axes of \(shape)")
        var inverse = axes
        for (position, axis) in axes.enumerated() { inverse[axis] = position }
        return .custom("permute", inputs: [self], output: permutedWithoutTape(axes)) { [inverse] in
            [$0.permuted(inverse)]
        }
    }

    /// The tensor with two axes exchanged.
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

/// A permutation of axes, without axes of length 1 and with merged adjacent axes.
private struct Permutation: Sendable {
    /// The lengths of the axes of the result, and their strides in source and result.
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

    /// Whether rows of the result are contiguous in the source.
    var keepsRows: Bool { sourceSteps.last ?? 1 == 1 }

    /// The offsets of the part with index `part` among all combinations of indices of `axes`.
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
        Threads.parallelFor(
            outer.reduce(1) { $0 * lengths[$1] }, grain: Threads.rowGrain(inner)
        ) { rows in
            for row in rows {
                let start = offsets(row, outer)
                (result + start.result).update(from: source + start.source, count: inner)
            }
        }
    }

    /// Transposes 2-D planes spanned by the last axis of the source and the last axis of the result, one for each
    /// combination of indices of the other axes.
    func transpose(from source: UnsafePointer<Float>, to result: UnsafeMutablePointer<Float>) {
        guard let along = sourceSteps.firstIndex(of: 1) else { return }
        let last = lengths.count - 1
        let planes = lengths.indices.filter { $0 != along && $0 != last }
        // Planes are split into bands of source columns, which are whole rows of the result.
        let (rows, columns) = (lengths[last], lengths[along])
        let band = max(4 * elementwiseGrain / rows / 16 * 16, 64)
        let bands = (columns + band - 1) / band
        let count = planes.reduce(1) { $0 * lengths[$1] }
        Threads.parallelFor(count * bands, grain: Threads.rowGrain(rows * min(band, columns))) {
            for part in $0 {
                let (start, first) = (offsets(part / bands, planes), part % bands * band)
                kernels.transpose(
                    source + start.source + first, result + start.result + first * resultSteps[along], rows,
                    min(band, columns - first), sourceSteps[last], resultSteps[along])
            }
        }
    }
}
