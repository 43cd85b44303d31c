// SPDX-License-Identifier: Apache-2.0
// Which parts of a UNet are computed a second time in the backward pass instead of being kept for it.

import Tensors

/// What a UNet keeps of a forward pass for the backward pass; gradients are bit-equal in either case.
public enum GradientCheckpointing: String, Codable, Sendable, CaseIterable {
    /// Every intermediate value.
    case none
    /// The inputs of each residual block with the transformer behind it. These pairs, and not whole down and up blocks,
    /// because nearly all their inputs are skip connections, which are kept anyway, and a pair's tape is a half or a
    /// third of its block's.
    case blocks

    /// Runs `body`, one residual block with its transformer, and keeps what the mode says.
    ///
    /// - Parameters:
    ///   - inputs: what the block computes on.
    ///   - time: its time conditioning.
    ///   - context: its text condition.
    ///   - body: the block, a function of these (and of parameters) alone.
    /// - Returns: what `body` returns.
    func run(
        _ inputs: [Tensor], _ time: TimeConditioning, context: Tensor?,
        _ body: @escaping ([Tensor], TimeConditioning, Tensor?) -> Tensor
    ) -> Tensor {
        guard self == .blocks else { return body(inputs, time, context) }
        let results = checkpointed(inputs + time.tensors + (context.map { [$0] } ?? [])) { given in
            var rest = given[inputs.count...]
            let time = time.replacing { rest.removeFirst() }
            return [body(Array(given[..<inputs.count]), time, rest.first)]
        }
        return results[0]
    }
}

extension TimeConditioning {
    /// The tensors that may lie on the tape.
    fileprivate var tensors: [Tensor] {
        if case .embedding(let embedding) = self { [embedding] } else { [] }
    }

    /// The same with other tensors.
    fileprivate func replacing(_ next: () -> Tensor) -> TimeConditioning {
        if case .embedding = self { .embedding(next()) } else { self }
    }
}
