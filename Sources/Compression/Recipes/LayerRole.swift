// SPDX-License-Identifier: Apache-2.0
// What quantization does with a layer. The layer policy of the model's architecture assigns roles (`Networks`);
// inventories and sensitivity tables store them.

/// What happens to a linear or convolution layer when its model is quantized.
public enum LayerRole: String, Codable, Sendable, CaseIterable {
    /// Gets its bits from the budget.
    case searched
    /// The first or last layer: fixed at 8 bits.
    case firstOrLast
    /// Keeps its precision unless a recipe names it.
    case optional
    /// Computes the time embedding from the timestep (and SDXL's size and text conditions): never quantized.
    case timeEmbedding
    /// Projects the time embedding for one block: never quantized; its outputs can be cached.
    case timeProjection

    /// Whether every recipe gives the layer bits.
    public var isQuantized: Bool { self == .searched || self == .firstOrLast }

    /// Whether a recipe may give the layer bits.
    public var acceptsBits: Bool { !isTimeLayer }

    /// Whether the layer is dropped where its time features are cached.
    public var isTimeLayer: Bool { self == .timeEmbedding || self == .timeProjection }
}
