// SPDX-License-Identifier: Apache-2.0
// Our side of one benchmark, ready to run, with the tensors that PyTorch's twin is given.

import BitsFusion

/// What is compared of two sides' results, and how closely Float32 has to agree.
enum ResultKind: String, Codable {
    /// Values that a forward pass makes.
    case output
    /// Gradients, and weights after an update.
    case gradient
}

/// Tensors that several cases start from.
struct SharedTensors {
    /// Names the values: the same name, the same values.
    let name: String
    let tensors: [String: Tensor]
}

/// One thing that can be done again and again.
final class Workload {
    /// What both sides start from, by the names that the twin knows. No copies are needed of what a pass changes, since
    /// it is written before the first one.
    private var inputs: [String: Tensor]
    private var shared: SharedTensors?
    /// Done before each pass, outside of the measured time.
    let prepare: () -> Void
    /// What is measured.
    let pass: () throws -> Void
    /// What a pass makes from the inputs, by the twin's names; called once, before any measurement.
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

    /// Writes what the twins start from, and lets go of it.
    ///
    /// - Returns: the files.
    /// - Throws: `CheckpointError`.
    func handOver(_ exchange: TensorExchange) throws -> [String] {
        defer { dropInputs() }
        return try [exchange.write(inputs, as: TensorExchange.inputs)]
            + [shared].compactMap { $0 }.map(exchange.share)
    }

    /// Lets go of tensors that nothing but the exchange with the twins needs.
    func dropInputs() {
        inputs = [:]
        shared = nil
    }
}

/// A place for the result of the last pass, so that it lives as long as a user's would.
final class ResultSlot {
    var tensor: Tensor?

    /// The tensor under the name `output`.
    var output: [String: Tensor] { tensor.map { ["output": $0] } ?? [:] }
}
