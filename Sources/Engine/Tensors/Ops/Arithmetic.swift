// SPDX-License-Identifier: Apache-2.0
// Elementwise arithmetic with NumPy broadcasting.

import CKernels

extension Tensor {
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        // The closure captures shapes only, so that the operands can be freed.
        custom("add", inputs: [a, b], output: broadcast(a, b, BF_ADD)) {
            [shapes = (a.shape, b.shape), needs = (a.node != nil, b.node != nil)] g in
            [needs.0 ? g.reduced(to: shapes.0) : nil, needs.1 ? g.reduced(to: shapes.1) : nil]
        }
    }

    public static func - (a: Tensor, b: Tensor) -> Tensor {
        custom("subtract", inputs: [a, b], output: broadcast(a, b, BF_SUB)) {
            [shapes = (a.shape, b.shape), needs = (a.node != nil, b.node != nil)] g in
            [needs.0 ? g.reduced(to: shapes.0) : nil, needs.1 ? -g.reduced(to: shapes.1) : nil]
        }
    }

    public static func * (a: Tensor, b: Tensor) -> Tensor {
        let (x, y) = (a.detached(), b.detached())
        return custom("multiply", inputs: [a, b], output: broadcast(a, b, BF_MUL)) {
            [needs = (a.node != nil, b.node != nil)] g in
            [needs.0 ? (g * y).reduced(to: x.shape) : nil, needs.1 ? (g * x).reduced(to: y.shape) : nil]
        }
    }

    public static func / (a: Tensor, b: Tensor) -> Tensor {
        let (x, y) = (a.detached(), b.detached())
        return custom("divide", inputs: [a, b], output: broadcast(a, b, BF_DIV)) {
            [needs = (a.node != nil, b.node != nil)] g in
            let numeratorGradient = g / y
            return [
                needs.0 ? numeratorGradient.reduced(to: x.shape) : nil,
                needs.1 ? (-(numeratorGradient * x) / y).reduced(to: y.shape) : nil,
            ]
        }
    }

    public static func + (a: Tensor, b: Float) -> Tensor {
        custom("add", inputs: [a], output: a.mapped(BF_ADD, b)) { [$0] }
    }
    public static func + (a: Float, b: Tensor) -> Tensor { b + a }
    public static func - (a: Tensor, b: Float) -> Tensor { a + (-b) }
    public static func - (a: Float, b: Tensor) -> Tensor {
        custom("subtract", inputs: [b], output: b.mapped(a, BF_SUB)) { [-$0] }
    }
    public static func * (a: Tensor, b: Float) -> Tensor {
        custom("scale", inputs: [a], output: a.mapped(BF_MUL, b)) { [$0 * b] }
    }
    public static func * (a: Float, b: Tensor) -> Tensor { b * a }
    public static func / (a: Tensor, b: Float) -> Tensor { a * (1 / b) }
    public static func / (a: Float, b: Tensor) -> Tensor {
        let result = b.mapped(a, BF_DIV)
        let divisor = b.detached()
        return custom("divide", inputs: [b], output: result) { [-($0 * result) / divisor] }
    }
    public static prefix func - (a: Tensor) -> Tensor { a * -1 }

    /// The tensor repeated along axes of length 1 (or new leading axes) to `shape`.
    ///
    /// - Precondition: `shape` follows from NumPy's broadcasting rules.
    public func expanded(_ shape: [Int]) -> Tensor {
        precondition(
            broadcastShape(self.shape, shape) == shape,
            "expanded: \(self.shape) does not broadcast to \(shape)")
        let inputShape = self.shape
        let output = repeated(shape)
        return .custom("expand", inputs: [self], output: output) { [$0.reduced(to: inputShape)] }
    }

    private func repeated(_ target: [Int]) -> Tensor {
        let result = Tensor(unsafeUninitialized: target)
        guard result.count > 0 else { return result }
        let plan = BroadcastPlan(shape, target, result: target)
        let inner = plan.inner
        Threads.parallelFor(result.count / inner, grain: Threads.rowGrain(inner)) { rows in
            for row in rows {
                let from = pointer + plan.offsets(row).0, to = result.pointer + row * inner
                if plan.innerStepA == 1 {
                    to.update(from: from, count: inner)
                } else {
                    to.update(repeating: from.pointee, count: inner)
                }
            }
        }
        return result
    }

    /// `self op b`, off the tape.
    private func mapped(_ operation: bf_binary, _ b: Float) -> Tensor {
        let kernel = bf_binary_scalar_kernel(kernelTable, operation)
        return mapped { kernel($0, b, $1, $2) }
    }

    /// `a op self`, off the tape.
    private func mapped(_ a: Float, _ operation: bf_binary) -> Tensor {
        let kernel = bf_scalar_binary_kernel(kernelTable, operation)
        return mapped { kernel(a, $0, $1, $2) }
    }

    /// The sum over the axes that broadcasting added or expanded; has shape `target`.
    func reduced(to target: [Int]) -> Tensor {
        guard shape != target else { return self }
        let lead = rank - target.count
        let axes = (0..<rank).filter { $0 < lead || (target[$0 - lead] == 1 && shape[$0] != 1) }
        return sum(axes: axes, keepDims: true).reshaped(target)
    }
}

/// The shape of a broadcast by NumPy's rules: axes are aligned at the right; lengths are equal, or one of them is 1.
func broadcastShape(_ a: [Int], _ b: [Int]) -> [Int] {
    let rank = max(a.count, b.count)
    return (0..<rank).map { i in
        let (p, q) = (i - (rank - a.count), i - (rank - b.count))
        let (x, y) = (p < 0 ? 1 : a[p], q < 0 ? 1 : b[q])
        precondition(x == y || x == 1 || y == 1, "broadcast: \(a) and \(b) differ at axis \(i): \(x) ≠ \(y)")
        return x == 1 ? y : x
    }
}

/// `a op b` with broadcasting, off the tape.
private func broadcast(_ a: Tensor, _ b: Tensor, _ operation: bf_binary) -> Tensor {
    let vector = bf_binary_kernel(kernelTable, operation)
    if a.shape == b.shape {
        let result = Tensor(unsafeUninitialized: a.shape)
        Threads.parallelFor(a.count, grain: elementwiseGrain) { range in
            vector(
                a.pointer + range.lowerBound, b.pointer + range.lowerBound, result.pointer + range.lowerBound,
                range.count)
        }
        return result
    }
    let shape = broadcastShape(a.shape, b.shape)
    let result = Tensor(unsafeUninitialized: shape)
    guard result.count > 0 else { return result }
    let plan = BroadcastPlan(a.shape, b.shape, result: shape)
    let rightScalar = bf_binary_scalar_kernel(kernelTable, operation)
    let leftScalar = bf_scalar_binary_kernel(kernelTable, operation)
    let inner = plan.inner
    Threads.parallelFor(result.count / inner, grain: Threads.rowGrain(inner)) { rows in
        for row in rows {
            let (x, y) = plan.offsets(row)
            let out = result.pointer + row * inner
            switch (plan.innerStepA, plan.innerStepB) {
            case (1, 1): vector(a.pointer + x, b.pointer + y, out, inner)
            case (1, _): rightScalar(a.pointer + x, b.pointer[y], out, inner)
            default: leftScalar(a.pointer[x], b.pointer + y, out, inner)
            }
        }
    }
    return result
}

/// The division of a broadcast into rows in which each operand is either contiguous or constant.
private struct BroadcastPlan {
    /// Number of elements of a row, and the step (1 or 0) of each operand inside a row.
    var inner = 1
    var innerStepA = 1, innerStepB = 1
    private var outerShape: [Int] = []
    private var outerStepsA: [Int] = [], outerStepsB: [Int] = []

    init(_ a: [Int], _ b: [Int], result: [Int]) {
        let rank = result.count
        func steps(_ shape: [Int]) -> [Int] {
            var steps = [Int](repeating: 0, count: rank)
            var step = 1
            for i in stride(from: shape.count - 1, through: 0, by: -1) {
                steps[i + rank - shape.count] = shape[i] == 1 ? 0 : step
                step *= shape[i]
            }
            return steps
        }
        let (stepsA, stepsB) = (steps(a), steps(b))
        // Trailing axes are merged into the row while both operands stay contiguous or constant.
        var axis = rank - 1
        while axis >= 0 && result[axis] == 1 { axis -= 1 }
        if axis >= 0 {
            innerStepA = stepsA[axis] == 0 ? 0 : 1
            innerStepB = stepsB[axis] == 0 ? 0 : 1
            while axis >= 0 {
                let continues =
                    result[axis] == 1
                    || (stepsA[axis] == innerStepA * inner && stepsB[axis] == innerStepB * inner)
                guard continues else { break }
                inner *= result[axis]
                axis -= 1
            }
        }
        let outerCount = axis + 1
        outerShape = Array(result.prefix(outerCount))
        outerStepsA = Array(stepsA.prefix(outerCount))
        outerStepsB = Array(stepsB.prefix(outerCount))
    }

    func offsets(_ row: Int) -> (Int, Int) {
        var rest = row
        var (x, y) = (0, 0)
        for axis in stride(from: outerShape.count - 1, through: 0, by: -1) {
            let index = rest % outerShape[axis]
            rest /= outerShape[axis]
            x += index * outerStepsA[axis]
            y += index * outerStepsB[axis]
        }
        return (x, y)
    }
}
