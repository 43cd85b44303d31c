// SPDX-License-Identifier: Apache-2.0
// The elementwise activations of configs. Matches diffusers `get_activation` (models/activations.py).

import Tensors

/// An elementwise nonlinearity.
public enum Activation: String, Sendable, Equatable, CaseIterable {
    /// x · sigmoid(x); diffusers also calls it "swish".
    case silu
    /// x · Φ(x), the exact form.
    case gelu
    /// x · tanh(softplus(x)).
    case mish
    /// max(x, 0).
    case relu
    /// x · sigmoid(1.702 x), as in CLIP.
    case quickGELU = "quick_gelu"

    /// The activation with the name `name` in diffusers' UNets (case-insensitive), or nil.
    public init?(diffusersName name: String) {
        switch name.lowercased() {
        case "silu", "swish": self = .silu
        case "gelu": self = .gelu
        case "mish": self = .mish
        case "relu": self = .relu
        default: return nil
        }
    }

    /// Any shape -> the same shape.
    public func callAsFunction(_ x: Tensor) -> Tensor {
        switch self {
        case .silu: x.silu()
        case .gelu: x.gelu()
        case .mish: x.mish()
        case .relu: x.relu()
        case .quickGELU: x.quickGELU()
        }
    }
}
