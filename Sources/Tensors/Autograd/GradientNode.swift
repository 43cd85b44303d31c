// SPDX-License-Identifier: Apache-2.0
// Reverse-mode differentiation: each result remembers its inputs and how to push a gradient back to them.

import Synchronization

/// One recorded operation, or a leaf.
final class GradientNode: @unchecked Sendable {
    /// Creation order, which is a topological order.
    let index: UInt64
    private(set) var inputs: [GradientNode?]
    private var pushBack: ((Tensor) -> [Tensor?])?
    private let parameter: Parameter?
    private var gradient: Tensor?

    private static let counter = Atomic<UInt64>(0)

    init(inputs: [GradientNode?], pushBack: @escaping (Tensor) -> [Tensor?]) {
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

    func accumulate(_ incoming: Tensor) {
        guard let present = gradient else {
            gradient = incoming
            return
        }
        gradient = addedWithoutTape(present, incoming)
    }

    /// Hands the accumulated gradient to the inputs (or to the parameter) and lets go of everything held.
    func run() {
        defer {
            gradient = nil
            pushBack = nil
            inputs = []
        }
        guard let gradient else { return }
        if let parameter {
            parameter.accumulate(gradient)
            return
        }
        guard let pushBack else {
            preconditionFailure("backward: the tape was already used; a result can be differentiated once")
        }
        for (input, share) in zip(inputs, pushBack(gradient)) {
            if let input, let share { input.accumulate(share) }
        }
    }

    /// Every node that `self` depends on, itself included, newest first.
    func reachable() -> [GradientNode] {
        var found: [GradientNode] = []
        var seen: Set<ObjectIdentifier> = []
        var pending = [self]
        while let node = pending.popLast() {
            guard seen.insert(ObjectIdentifier(node)).inserted else { continue }
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

func addedWithoutTape(_ a: Tensor, _ b: Tensor) -> Tensor {
    precondition(a.shape == b.shape, "gradient: \(a.shape) and \(b.shape) meet at one tensor")
    let sum = Tensor(unsafeUninitialized: a.shape)
    Threads.parallelFor(a.count, grain: elementwiseGrain) { range in
        kernels.binary.0(
            a.pointer + range.lowerBound, b.pointer + range.lowerBound, sum.pointer + range.lowerBound,
            range.count)
    }
    return sum
}
