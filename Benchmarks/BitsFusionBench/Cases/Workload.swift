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

/// One thing that can be done again and again.
final class Workload {
    /// What both sides start from, by the names that the twin knows; empty once the twins have read them.
    private(set) var inputs: [String: Tensor]
    /// Done before each pass, outside of the measured time.
    let prepare: () -> Void
    /// What is measured.
    let pass: () throws -> Void
    /// What a pass makes from the inputs, by the twin's names; called once, before any measurement.
    let results: () throws -> [String: Tensor]

    init(
        inputs: [String: Tensor], prepare: @escaping () -> Void = {}, pass: @escaping () throws -> Void,
        results: @escaping () throws -> [String: Tensor]
    ) {
        self.inputs = inputs
        self.prepare = prepare
        self.pass = pass
        self.results = results
    }

    /// Lets go of tensors that nothing but the exchange with the twins needs.
    func dropInputs() { inputs = [:] }
}

/// A place for the result of the last pass, so that it lives as long as a user's would.
final class ResultSlot {
    var tensor: Tensor?

    /// The tensor under the name `output`.
    var output: [String: Tensor] { tensor.map { ["output": $0] } ?? [:] }
}
