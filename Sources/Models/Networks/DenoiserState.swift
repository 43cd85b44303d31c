// SPDX-License-Identifier: Apache-2.0
// A forward pass between two stages. B batch, C channels, H W size, T context tokens, D channels of an embedding.

import Tensors

/// The state of a forward pass between two stages. A copy is cheap: tensors are shared.
public struct DenoiserState {
    /// The output of the last stage: at the start the sample, at the end the prediction; `[B, C, H, W]`.
    public var hidden: Tensor
    /// Outputs that a later stage reads again, such as the skip connections of a UNet.
    public var skips: [Tensor]

    public init(hidden: Tensor, skips: [Tensor] = []) {
        self.hidden = hidden
        self.skips = skips
    }

    /// The bytes of its tensors, each counted once.
    public var bytes: Int {
        // The last skip connection is often the hidden tensor itself.
        let isShared = skips.last.map { $0.sharesMemory(with: hidden) } ?? false
        let counts = skips.map(\.count) + (isShared ? [] : [hidden.count])
        return counts.reduce(0, +) * MemoryLayout<Float>.stride
    }

    /// A copy without tape.
    public var detached: DenoiserState {
        DenoiserState(hidden: hidden.detached(), skips: skips.map { $0.detached() })
    }
}

/// What all stages of one forward pass depend on in addition to the state.
public struct DenoiserConditioning {
    /// `[B]`, or `[1]` for the whole batch.
    public let timesteps: Tensor
    /// The embedding of timesteps and added conditions, `[B or 1, D]`; nil where time features are cached.
    public private(set) var timeEmbedding: Tensor?
    /// Cached time features, in place of the embedding.
    public let timeFeatures: TimeFeatureTable?
    /// The text, `[B, T, D]`; nil without cross-attention.
    public private(set) var context: Tensor?

    /// - Precondition: either a time embedding or cached features.
    public init(timesteps: Tensor, timeEmbedding: Tensor?, timeFeatures: TimeFeatureTable?, context: Tensor?) {
        precondition(
            (timeEmbedding == nil) != (timeFeatures == nil),
            "conditioning: expected a time embedding or cached time features")
        self.timesteps = timesteps
        self.timeEmbedding = timeEmbedding
        self.timeFeatures = timeFeatures
        self.context = context
    }

    /// The tensors that may be on the tape.
    var tensors: [Tensor] { [timeEmbedding, context].compactMap { $0 } }

    /// The same with other `tensors`.
    func replacing(_ tensors: ArraySlice<Tensor>) -> DenoiserConditioning {
        var (copy, rest) = (self, tensors)
        if timeEmbedding != nil { copy.timeEmbedding = rest.removeFirst() }
        if context != nil { copy.context = rest.removeFirst() }
        return copy
    }
}
