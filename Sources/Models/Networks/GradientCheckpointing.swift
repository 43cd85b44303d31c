// SPDX-License-Identifier: Apache-2.0
// Which parts of a denoiser are computed a second time in the backward pass instead of being kept for it.

import Tensors

/// What a denoiser keeps of a forward pass for the backward pass; gradients are bit-equal in either case.
public enum GradientCheckpointing: String, Codable, Sendable, CaseIterable {
    /// Every intermediate value.
    case none
    /// The inputs of each block. In a UNet this is a residual block with the transformer behind it, not a whole down or
    /// up block: nearly all inputs are skip connections, which are kept anyway, and the tape of a pair is a half or a
    /// third of its block's.
    case blocks

    /// Runs `body`, one block, and keeps what the mode says.
    ///
    /// - Parameters:
    ///   - inputs: what the block computes on.
    ///   - conditioning: of the pass.
    ///   - body: the block, a function of these (and of parameters) alone.
    /// - Returns: what `body` returns.
    public func run(
        _ inputs: [Tensor], _ conditioning: DenoiserConditioning,
        _ body: @escaping ([Tensor], DenoiserConditioning) -> Tensor
    ) -> Tensor {
        guard self == .blocks else { return body(inputs, conditioning) }
        let results = checkpointed(inputs + conditioning.tensors) { given in
            [body(Array(given[..<inputs.count]), conditioning.replacing(given[inputs.count...]))]
        }
        return results[0]
    }
}
