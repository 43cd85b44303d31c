// SPDX-License-Identifier: Apache-2.0
// The linear and convolution layers of one model and the count of everything else: all that size accounting and
// allocation need to know of an architecture.

/// Every linear and convolution layer of a model, by path.
public struct ModelInventory: Equatable, Sendable {
    /// Every linear and convolution layer, time layers included, sorted by path; paths are unique.
    public let layers: [LayerShape]
    /// The number of parameters that are not linear or convolution weights: norms, biases, embeddings.
    public let otherParameters: Int

    /// Sorts `layers` by path.
    ///
    /// - Throws: `RecipeError.duplicateLayer` where two layers share a path; `RecipeError.malformed` where
    ///   `otherParameters` is less than the layers' biases.
    public init(layers: [LayerShape], otherParameters: Int) throws(RecipeError) {
        self.layers = layers.sorted { $0.path < $1.path }
        self.otherParameters = otherParameters
        for (previous, next) in zip(self.layers, self.layers.dropFirst()) where previous.path == next.path {
            throw .duplicateLayer(path: next.path)
        }
        let biases = layers.reduce(0) { $0 + ($1.hasBias ? $1.outputChannels : 0) }
        guard otherParameters >= biases else {
            throw .malformed(
                location: "otherParameters",
                reason: "expected at least the \(biases) biases of the layers, found \(otherParameters)")
        }
    }

    /// N_w: the weights of all linear and convolution layers, the removed time layers included.
    public var weightCount: Int { layers.reduce(0) { $0 + $1.weights } }

    /// The layers that a recipe gives a width, sorted by path.
    public var quantizedLayers: [LayerShape] { layers.filter(\.role.isQuantized) }

    /// The layers that caching drops, sorted by path.
    public var timeLayers: [LayerShape] { layers.filter(\.role.isTimeLayer) }

    /// The time-feature values of one inference step: the output channels of all time projections.
    public var timeFeaturesPerStep: Int {
        layers.reduce(0) { $0 + ($1.role == .timeProjection ? $1.outputChannels : 0) }
    }
}

extension ModelInventory: Codable {
    enum CodingKeys: String, CodingKey {
        case layers, otherParameters
    }

    /// Reads `{"layers": [...], "otherParameters": n}`.
    ///
    /// - Throws: `RecipeError.duplicateLayer` and `RecipeError.malformed` as the other initializer does.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        try self.init(
            layers: container.decode([LayerShape].self, forKey: .layers),
            otherParameters: container.decode(Int.self, forKey: .otherParameters))
    }
}
