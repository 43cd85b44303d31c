// SPDX-License-Identifier: Apache-2.0
// Reverse-mode automatic differentiation: each result on the tape has a node with its inputs and its backward function.

import CKernels
import Synchronization

/// One recorded operation, or a leaf.
class GradientNode: @unchecked Sendable {
    /// The creation order, which is a topological order.
    let index: UInt64
    private(set) var inputs: [GradientNode?]
    private var pushBack: ((inout Tensor) -> [Tensor?])?
    private let parameter: Parameter?
    private var gradient: Tensor?

    private static let counter = Atomic<UInt64>(0)

    static let usedUp = "backward: the tape was already used; a result can be differentiated once"

    /// The index of the newest node.
    static var newest: UInt64 { counter.load(ordering: .relaxed) }

    /// An operation: `pushBack` computes one gradient per input from the gradient of the result. It may overwrite that
    /// gradient if no other tensor shares its memory (`Tensor.isUniquelyOwned()`).
    init(inputs: [GradientNode?], pushBack: @escaping (inout Tensor) -> [Tensor?]) {
        index = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
        self.inputs = inputs
        self.pushBack = pushBack
        parameter = nil
    }

    init(leaf: Parameter) {
        index = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
        inputs = []
        parameter = leaf
    }

    /// A node with its own override of `run`.
    init(inputs: [GradientNode?]) {
        index = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
        self.inputs = inputs
        parameter = nil
    }

    func accumulate(_ incoming: Tensor) { gradient.accumulate(incoming) }

    /// Propagates the accumulated gradient to the inputs (or to the parameter) and releases everything held.
    func run() {
        defer { release() }
        // Taken out of the node, so that the operation can be the only owner.
        guard var gradient = gradient.take() else { return }
        if let parameter {
            parameter.accumulate(gradient)
            return
        }
        guard let pushBack else { preconditionFailure(Self.usedUp) }
        for (input, inputGradient) in zip(inputs, pushBack(&gradient)) {
            if let input, let inputGradient { input.accumulate(inputGradient) }
        }
    }

    /// Releases everything held.
    final func release() {
        gradient = nil
        pushBack = nil
        inputs = []
    }

    /// Runs `roots`, whose gradients are set, and every node newer than `boundary` that they depend on, newest first.
    static func propagate(from roots: [GradientNode], downTo boundary: UInt64 = 0) {
        for node in reachable(from: roots, downTo: boundary) { node.run() }
    }

    /// `roots` and every node newer than `boundary` that they depend on, newest first.
    private static func reachable(from roots: [GradientNode], downTo boundary: UInt64) -> [GradientNode] {
        var found: [GradientNode] = []
        var seen: Set<ObjectIdentifier> = []
        var pending = roots
        while let node = pending.popLast() {
            guard node.index > boundary, seen.insert(ObjectIdentifier(node)).inserted else { continue }
            found.append(node)
            for input in node.inputs { if let input { pending.append(input) } }
        }
        return found.sorted { $0.index > $1.index }
    }
}

/// Whether operations are recorded in this task.
enum GradientMode {
    @TaskLocal static var isEnabled = true
}

/// Runs `body` without recording operations, so that intermediate results are freed immediately.
public func withoutGradients<R>(_ body: () throws -> R) rethrows -> R {
    try GradientMode.$isEnabled.withValue(false, operation: body)
}

extension Tensor? {
    /// Adds `incoming` to this gradient, in place if no other tensor shares its memory.
    mutating func accumulate(_ incoming: Tensor) {
        guard var total = take() else {
            self = incoming
            return
        }
        precondition(
            total.shape == incoming.shape, "gradient: \(total.shape) and \(incoming.shape) for one tensor")
        let sum = total.isUniquelyOwned() ? total : Tensor(unsafeUninitialized: total.shape)
        let (left, right, result) = (total.pointer, incoming.pointer, sum.pointer)
        let add = bf_binary_kernel(kernelTable, BF_ADD)
        Threads.parallelFor(sum.count, grain: elementwiseGrain) { range in
            add(
                left + range.lowerBound, right + range.lowerBound, result + range.lowerBound, range.count)
        }
        self = sum
    }
}
