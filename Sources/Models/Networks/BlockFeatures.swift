// SPDX-License-Identifier: Apache-2.0
// Intermediate outputs of a denoiser, for feature distillation (BitsFusion, section "Stage I").

import Tensors

/// Collects the output of every block during one forward pass; differentiable like the prediction itself.
public final class BlockFeatures {
    /// The part of a model that a block belongs to.
    public enum Kind: Sendable {
        /// A UNet's blocks, with their downsampler or upsampler.
        case down, mid, up
        /// A block of a transformer without resolutions.
        case transformer
    }

    /// The outputs in the order of computation, `[B, C, H, W]` or `[B, T, D]`.
    public private(set) var outputs: [(kind: Kind, output: Tensor)] = []

    /// An empty collection, for one forward pass.
    public init() {}

    /// The outputs of the blocks of one kind.
    public func outputs(of kind: Kind) -> [Tensor] { outputs.filter { $0.kind == kind }.map(\.output) }

    /// What the feature loss compares: the outputs of all blocks except a UNet's mid block.
    public var compared: [Tensor] { outputs.filter { $0.kind != .mid }.map(\.output) }

    /// Removes the outputs of an earlier pass.
    public func reset() { outputs = [] }

    /// Adds the output of the next block.
    public func append(_ output: Tensor, kind: Kind) { outputs.append((kind, output)) }
}
