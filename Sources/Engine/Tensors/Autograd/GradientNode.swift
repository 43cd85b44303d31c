// SPDX-License-Identifier: Apache-2.0
// Reverse-mode differentiation: each result remembers its inputs and how to push a gradient back to them.

import CKernels
import Synchronization

/// One recorded operation, or a leaf.
class GradientNode: @unchecked Sendable {
    /// Creation order, which is a topological order.
    let index: UInt64
    private(set) var inputs: [GradientNode?]
    private var pushBack: ((inout Tensor) -> [Tensor?])?
    private let parameter: Parameter?
    private var gradient: Tensor?

    private static let counter = Atomic<UInt64>(0)

    static let usedUp = "backward: the tape was already used; a result can be differentiated once"

    /// The index of the newest node.
    static var newest: UInt64 { counter.load(ordering: .relaxed) }

    /// An operation: `pushBack` makes one gradient per input from the gradient of the result. It may write over that one
    /// where nobody else holds it (`Tensor.isUniquelyOwned()`).
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

    /// A node that does its own work in an override of `run`.
    init(inputs: [GradientNode?]) {
        index = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
        self.inputs = inputs
        parameter = nil
    }

    func accumulate(_ incoming: Tensor) { gradient.accumulate(incoming) }

    /// Hands the accumulated gradient to the inputs (or to the parameter) and lets go of everything held.
    func run() {
        defer { release() }
        // Taken out, so that the operation may find itself the only owner.
        guard var gradient = gradient.take() else { return }
        if let parameter {
            parameter.accumulate(gradient)
            return
        }
        guard let pushBack else { preconditionFailure(Self.usedUp) }
        for (input, share) in zip(inputs, pushBack(&gradient)) {
            if let input, let share { input.accumulate(share) }
        }
    }

    /// Lets go of everything held.
    final func release() {
        gradient = nil
        pushBack = nil
        inputs = []
    }

    /// Runs every node newer than `boundary` that `roots`, which have their gradients, depend on; newest first.
    static func propagate(from roots: [GradientNode], downTo boundary: UInt64 = 0) {
        for node in reachable(from: roots, downTo: boundary) { node.run() }
    }

    /// Every node newer than `boundary` that `roots` depend on, themselves included, newest first.
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

/// Whether operations are recorded on this thread or task.
enum GradientMode {
    @TaskLocal static var isEnabled = true
}

/// Runs `body` without recording operations: no tape, and intermediate results are freed at once.
public func withoutGradients<R>(_ body: () throws -> R) rethrows -> R {
    try GradientMode.$isEnabled.withValue(false, operation: body)
}

extension Tensor? {
    /// Adds a gradient to what is there: in place where nobody else holds that.
    mutating func accumulate(_ incoming: Tensor) {
        guard var total = take() else {
            self = incoming
            return
        }
        precondition(
            total.shape == incoming.shape, "gradient: \(total.shape) and \(incoming.shape) meet at one tensor"
        )
        let sum = total.isUniquelyOwned() ? total : Tensor(unsafeUninitialized: total.shape)
        let (a, b, to) = (total.pointer, incoming.pointer, sum.pointer)
        nonisolated(unsafe) let (left, right, result) = (a, b, to)
        let add = bf_binary_kernel(kernelTable, BF_ADD)
        Threads.parallelFor(sum.count, grain: elementwiseGrain) { range in
            add(
                left + range.lowerBound, right + range.lowerBound, result + range.lowerBound, range.count)
        }
        self = sum
    }
}
