// SPDX-License-Identifier: Apache-2.0
// Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): a part of a network saves only its inputs and is
// computed a second time in the backward pass.

/// The results of `body`, whose intermediate values are not saved: the backward pass runs `body` again.
///
/// Results and gradients are bit-identical to those of `body` called directly. Both runs record a tape (the first one
/// is dropped immediately), so that operations that select their algorithm by what is recorded select the same one. The
/// second tape is attached to the nodes of the inputs, so that gradients are summed in the same order.
///
/// - Parameters:
///   - inputs: every tensor on the tape that `body` depends on, except trainable parameters.
///   - body: a function of its arguments and of parameters only, without random numbers and side effects. Parameters
///     must have the same values in both runs.
/// - Returns: the results; a result is on the tape if it is in `body`.
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

/// The common node of all results of one checkpointed part. It is older than the nodes of the results, so that it runs
/// after all of them have their complete gradients.
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

    /// The nodes of the results with their gradients; all nodes newer than `boundary` belong to the second run.
    private func secondRun() -> (nodes: [GradientNode], boundary: UInt64) {
        // The nodes of the inputs belong to the outer tape and are older than the boundary: gradients accumulate there
        // and are propagated by the outer pass.
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
