// SPDX-License-Identifier: Apache-2.0
// Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): a part of a network keeps its inputs alone and is
// computed a second time when its gradients are wanted.

/// The results of `body`, whose intermediate values are not kept for the backward pass: it runs `body` again.
///
/// Results and gradients are bit-equal to those of `body` run directly. Both runs record a tape, the first one to drop it
/// at once, so that operations that choose their algorithm by what is recorded choose alike; and the second tape hangs at
/// the inputs' own nodes, so that every sum of gradients is taken in the same order.
///
/// - Parameters:
///   - inputs: every tensor on the tape that `body` depends on; trainable parameters inside are found by themselves.
///   - body: a function of its arguments and of parameters alone; no random numbers, no effects. Both runs must see
///     the same parameter values.
/// - Returns: the results; each on the tape where `body` puts it there.
public func checkpointed(_ inputs: [Tensor], _ body: @escaping ([Tensor]) -> [Tensor]) -> [Tensor] {
    let outputs = body(inputs)
    let isRecorded = outputs.map(\.requiresGradient)
    guard isRecorded.contains(true) else { return outputs }
    let recomputation = RecomputationNode(inputs: inputs, shapes: outputs.map(\.shape), body: body)
    return outputs.enumerated().map { index, output in
        var result = output.detached()
        guard isRecorded[index] else { return result }
        result.node = GradientNode(inputs: [recomputation]) { gradient in
            recomputation.collect(gradient, of: index)
            return [nil]
        }
        return result
    }
}

/// The node behind all results of one checkpointed part. It is older than theirs, so that it runs when each of them has
/// its whole gradient.
private final class RecomputationNode: GradientNode, @unchecked Sendable {
    private var arguments: [Tensor]
    private var body: (([Tensor]) -> [Tensor])?
    private let shapes: [[Int]]
    private var gradients: [Tensor?]

    init(inputs: [Tensor], shapes: [[Int]], body: @escaping ([Tensor]) -> [Tensor]) {
        arguments = inputs
        self.body = body
        self.shapes = shapes
        gradients = Array(repeating: nil, count: shapes.count)
        super.init(inputs: inputs.map(\.node))
    }

    func collect(_ gradient: Tensor, of index: Int) {
        precondition(body != nil, GradientNode.usedUp)
        gradients[index] = gradient
    }

    override func run() {
        let roots = secondRun()
        arguments = []
        body = nil
        release()
        GradientNode.propagate(from: roots.nodes, downTo: roots.boundary)
    }

    /// The nodes of the results, with their gradients; everything newer than `boundary` belongs to the second run.
    private func secondRun() -> (nodes: [GradientNode], boundary: UInt64) {
        // Inputs keep the nodes that they have on the outer tape, which are older than the boundary: gradients are
        // added up there, and the outer pass takes them on.
        let boundary = GradientNode.newest
        guard let body, gradients.contains(where: { $0 != nil }) else { return ([], boundary) }
        let outputs = GradientMode.$isEnabled.withValue(true) { body(arguments) }
        precondition(
            outputs.map(\.shape) == shapes,
            "checkpointed: the second run gives \(outputs.map(\.shape)), the first gave \(shapes)")
        var nodes: [GradientNode] = []
        for (output, gradient) in zip(outputs, gradients) {
            guard let node = output.node, let gradient else { continue }
            node.accumulate(gradient)
            nodes.append(node)
        }
        gradients = []
        return (nodes, boundary)
    }
}
