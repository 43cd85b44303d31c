// SPDX-License-Identifier: Apache-2.0
// Gated feed-forward network of the transformer blocks. Matches diffusers `FeedForward` with GEGLU
// (models/attention.py, models/activations.py; Shazeer 2020, arXiv:2002.05202). D channels.

import Tensors

/// `W₂ (a · gelu(g))` with `[a, g] = W₁ x`; a and g have 4 D channels. Keys `net.0.proj` and `net.2`.
public final class FeedForward {
    private let project, output: Linear

    /// Reads both projections below `parameters` ("...ff").
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(_ parameters: ParameterPath, channels: Int) throws {
        let inner = 4 * channels
        project = try Linear(parameters / "net.0.proj", in: channels, out: 2 * inner)
        output = try Linear(parameters / "net.2", in: inner, out: channels)
    }

    /// `x` `[..., D]` -> `[..., D]`, plus `residual` of that shape.
    public func callAsFunction(_ x: Tensor, residual: Tensor? = nil) -> Tensor {
        output(project(x).geglu(), residual: residual)
    }
}
