// SPDX-License-Identifier: Apache-2.0
// A low-rank change of a layer (LoRA, Hu et al. 2021, arXiv:2106.09685) that is computed beside its weight, which may
// stay packed: y = W x + up (down x). R rank, IC/OC input/output channels.

import Tensors

/// A low-rank change of a linear layer or a convolution.
public struct LowRankBranch: Sendable {
    /// `[R, IC]`, or `[R, IC, KH, KW]` of a convolution.
    public let down: Tensor
    /// `[OC, R]`.
    public let up: Tensor

    /// - Precondition: equal ranks.
    public init(down: Tensor, up: Tensor) {
        precondition(
            up.rank == 2 && down.rank >= 2 && up.shape[1] == down.shape[0],
            "low-rank branch: up \(up.shape), down \(down.shape)")
        (self.down, self.up) = (down, up)
    }

    /// Both changes in one, whose rank is the sum of theirs.
    ///
    /// - Precondition: both are for one layer.
    public static func + (a: LowRankBranch, b: LowRankBranch) -> LowRankBranch {
        LowRankBranch(
            down: .concatenated([a.down, b.down], axis: 0), up: .concatenated([a.up, b.up], axis: 1))
    }

    /// The shape of the weight that the branch changes.
    var weightShape: [Int] { [up.shape[0]] + down.shape[1...] }
}

/// A layer that a low-rank branch can change: linear layers and convolutions.
public protocol AdaptableLayer: WeightedLayer {
    /// The change, computed beside the weight; nil for none. Its shape is that of the weight.
    var branch: LowRankBranch? { get set }
}

/// Traps when a layer is given a branch for a weight of another shape.
func preconditionFits(_ path: String, _ branch: LowRankBranch?, _ weight: any WeightSource) {
    guard let branch else { return }
    precondition(
        branch.weightShape == weight.shape, "\(path): a branch of shape \(branch.weightShape) for \(weight.shape)")
}
