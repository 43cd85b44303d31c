// SPDX-License-Identifier: Apache-2.0
// The work of one benchmark case in this process, and its input tensors for PyTorch.

import BitsFusion

/// Repeatable work.
final class Workload {
    /// The inputs of both sides, by their names in PyTorch. They are written to files before the first pass, so that
    /// passes may change them.
    private var inputs: [String: Tensor]
    private var shared: SharedTensors?
    /// Called before each pass, outside the measured time.
    let prepare: () -> Void
    /// The measured pass.
    let pass: () throws -> Void
    /// The results of a pass on the inputs, by their names in PyTorch; called once, before all measurements.
    let results: () throws -> [String: Tensor]

    init(
        inputs: [String: Tensor], shared: SharedTensors? = nil, prepare: @escaping () -> Void = {},
        pass: @escaping () throws -> Void, results: @escaping () throws -> [String: Tensor]
    ) {
        self.inputs = inputs
        self.shared = shared
        self.prepare = prepare
        self.pass = pass
        self.results = results
    }

    /// Writes the inputs for the PyTorch processes and releases them.
    ///
    /// - Returns: the files.
    /// - Throws: `CheckpointError`.
    func writeInputs(_ exchange: TensorExchange) throws -> [String] {
        defer { dropInputs() }
        return try [exchange.write(inputs, as: TensorExchange.inputs)]
            + [shared].compactMap { $0 }.map(exchange.share)
    }

    /// Releases tensors that are needed only for PyTorch.
    func dropInputs() {
        inputs = [:]
        shared = nil
    }
}

/// Holds the result of the last pass, so that it stays allocated until the next one.
final class ResultSlot {
    var tensor: Tensor?

    /// The tensor under the name `output`.
    var output: [String: Tensor] { tensor.map { ["output": $0] } ?? [:] }
}

extension Workload {
    /// Measures `compute` without recording gradients.
    static func forward(
        inputs: [String: Tensor], shared: SharedTensors? = nil, compute: @escaping () -> Tensor
    ) -> Workload {
        let slot = ResultSlot()
        let pass = { withoutGradients { slot.tensor = compute() } }
        return Workload(inputs: inputs, shared: shared, pass: pass) {
            pass()
            return slot.output
        }
    }
}
