// SPDX-License-Identifier: Apache-2.0
// Loss functions.

import CKernels
import Foundation

/// The mean of (a - b)² over all elements, shape `[]`.
public func meanSquaredError(_ a: Tensor, _ b: Tensor) -> Tensor {
    precondition(a.shape == b.shape, "meanSquaredError: \(a.shape) against \(b.shape)")
    let count = max(a.count, 1)
    let total = totalInBlocks(a.count) { kernels.squared_distance(a.pointer + $0, b.pointer + $0, $1) }
    let output = Tensor(scalar: Float(total / Double(count)))
    let (x, y) = (a.detached(), b.detached())
    let needs = (a.node != nil, b.node != nil)
    return .custom("meanSquaredError", inputs: [a, b], output: output) { g in
        let factor = 2 * g.item / Float(count)
        return [
            needs.0 ? scaledDifference(x, y, factor) : nil, needs.1 ? scaledDifference(x, y, -factor) : nil,
        ]
    }
}

/// (a - b) · factor.
private func scaledDifference(_ a: Tensor, _ b: Tensor, _ factor: Float) -> Tensor {
    let result = Tensor(unsafeUninitialized: a.shape)
    let subtract = bf_binary_kernel(kernelTable, BF_SUB)
    let multiply = bf_binary_scalar_kernel(kernelTable, BF_MUL)
    Threads.parallelFor((a.count + elementwiseGrain - 1) / elementwiseGrain) { blocks in
        for block in blocks {
            // Scaled while the block is in the first-level cache.
            let start = block * elementwiseGrain, count = min(elementwiseGrain, a.count - start)
            let to = result.pointer + start
            subtract(a.pointer + start, b.pointer + start, to, count)
            multiply(to, factor, to, count)
        }
    }
    return result
}

/// The mean of -log softmax(logits)[label], shape `[]`; `logits` `[B, K]`, labels in `0..<K`.
public func crossEntropy(_ logits: Tensor, labels: [Int32]) -> Tensor {
    precondition(
        logits.rank == 2 && logits.shape[0] == labels.count,
        "crossEntropy: logits \(logits.shape) for \(labels.count) labels")
    let (rows, classes) = (logits.shape[0], logits.shape[1])
    let probabilities = logits.detached().softmax()
    var total = 0.0
    for (row, label) in labels.enumerated() {
        precondition(label >= 0 && label < classes, "crossEntropy: label \(label) outside \(classes) classes")
        total -= log(Double(max(probabilities.pointer[row * classes + Int(label)], .leastNormalMagnitude)))
    }
    let output = Tensor(scalar: Float(total / Double(max(rows, 1))))
    return .custom("crossEntropy", inputs: [logits], output: output) { g in
        let scale = g.item / Float(max(rows, 1))
        let gradient = probabilities * scale
        for (row, label) in labels.enumerated() { gradient.pointer[row * classes + Int(label)] -= scale }
        return [gradient]
    }
}
