// SPDX-License-Identifier: Apache-2.0
// Intermediate outputs of a UNet, for feature distillation (BitsFusion, section "Stage I").

import Tensors

/// Collects the output of every block during one forward pass; differentiable like the prediction itself.
public final class BlockFeatures {
    /// Output of each down block, `[B, C, H, W]`, first block first, behind its downsampler.
    public private(set) var down: [Tensor] = []
    /// Output of the mid block; nil where the model has none.
    public private(set) var mid: Tensor?
    /// Output of each up block, lowest resolution first, behind its upsampler.
    public private(set) var up: [Tensor] = []

    /// An empty collection, for one forward pass.
    public init() {}

    /// The outputs of the down blocks, then those of the up blocks: what the feature loss compares.
    public var downAndUp: [Tensor] { down + up }

    /// Forgets what an earlier pass left.
    func reset() {
        down = []
        mid = nil
        up = []
    }

    func addDown(_ output: Tensor) { down.append(output) }
    func setMid(_ output: Tensor) { mid = output }
    func addUp(_ output: Tensor) { up.append(output) }
}
