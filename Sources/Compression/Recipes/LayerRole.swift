// SPDX-License-Identifier: Apache-2.0
// Which layers BitsFusion quantizes, decided by diffusers' module path (arXiv 2406.04333, sections 3 and 4.1):
// every linear and convolution layer but those that turn the timestep into time features.

/// What a linear or convolution layer of `UNet2DConditionModel` is in the method.
///
///     path                                                          role
///     time_embedding.*   add_embedding.*   class_embedding[.*]      timeEmbedding
///     *.time_emb_proj                                               timeProjection
///     conv_in   conv_out                                            firstOrLast
///     every other                                                   quantizable
public enum LayerRole: String, Codable, Sendable, CaseIterable {
    /// Makes the time embedding out of the timestep (and SDXL's size and text conditions): never quantized.
    case timeEmbedding
    /// Projects the time embedding for one residual block: never quantized, its outputs are cached.
    case timeProjection
    /// The first or last convolution: always 8 bits.
    case firstOrLast
    /// Gets its width from the budget.
    case quantizable

    /// The role of the layer at `path`.
    public init(of path: LayerID) {
        let text = path.rawValue
        let embeddings = ["time_embedding", "add_embedding", "class_embedding"]
        if embeddings.contains(where: { text == $0 || text.hasPrefix($0 + ".") }) {
            self = .timeEmbedding
        } else if text == "time_emb_proj" || text.hasSuffix(".time_emb_proj") {
            self = .timeProjection
        } else if text == "conv_in" || text == "conv_out" {
            self = .firstOrLast
        } else {
            self = .quantizable
        }
    }

    /// Whether a recipe gives the layer a width.
    public var isQuantized: Bool { self == .quantizable || self == .firstOrLast }

    /// Whether the layer is dropped where its time features are cached.
    public var isTimeLayer: Bool { !isQuantized }
}
