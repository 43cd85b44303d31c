// SPDX-License-Identifier: Apache-2.0
// The linear and convolution layers of one model and the number of its other parameters: what size accounting and
// allocation need to know of an architecture.

/// A layer of a component other than the denoiser, such as a text encoder. A recipe may name it.
public struct ComponentLayer: Hashable, Codable, Sendable {
    /// The layer; its path starts with the component's name.
    public let layer: LayerShape
    /// The bytes of the weight in a packed file where a recipe does not name the layer.
    public let denseBytes: Int

    public init(_ layer: LayerShape, denseBytes: Int) {
        self.layer = layer
        self.denseBytes = denseBytes
    }
}

/// Every linear and convolution layer of a model, by path.
public struct ModelInventory: Equatable, Sendable {
    /// Every linear and convolution layer of the denoiser, time layers included, sorted by path; paths are unique.
    public let layers: [LayerShape]
    /// The number of parameters that are not linear or convolution weights: norms, biases, embeddings.
    public let otherParameters: Int
    /// Whether the time layers can be replaced by cached time features: they depend on the timestep alone.
    public let cachesTimeFeatures: Bool
    /// The layers of the other components, which no budget counts.
    public var componentLayers: [ComponentLayer] = []
    /// The bytes that a packed file adds; nil where only the layers are known, so that forecasts count the payload
    /// alone.
    public var container: PackedContainer?

    /// The largest number of parameters.
    private static let parameterLimit = 1 << 50

    /// Sorts `layers` by path.
    ///
    /// - Throws: `RecipeError.duplicateLayer` where two layers share a path; `RecipeError.malformed` where
    ///   `otherParameters` is less than the layers' biases.
    public init(
        layers: [LayerShape], otherParameters: Int, cachesTimeFeatures: Bool = true
    ) throws(RecipeError) {
        self.layers = layers.sorted { $0.path < $1.path }
        self.otherParameters = otherParameters
        self.cachesTimeFeatures = cachesTimeFeatures
        for (previous, next) in zip(self.layers, self.layers.dropFirst()) where previous.path == next.path {
            throw .duplicateLayer(path: next.path)
        }
        guard (0...Self.parameterLimit).contains(otherParameters) else {
            throw .malformed(
                location: "otherParameters",
                reason: "expected 0 to \(Self.parameterLimit), found \(otherParameters)")
        }
        // Counts whose sums do not overflow and are exact in Double.
        var total = otherParameters
        for layer in self.layers {
            for extent in [layer.outputChannels] + layer.shape
            where !(1...Self.parameterLimit).contains(extent) {
                throw .malformed(
                    location: "\(layer.path): shape",
                    reason: "expected extents in 1...\(Self.parameterLimit), found \(extent)")
            }
            var weights = 1
            for extent in layer.shape where weights <= Self.parameterLimit {
                weights = weights.multipliedReportingOverflow(by: extent).overflow ? .max : weights * extent
            }
            total = weights > Self.parameterLimit ? .max : total.addingReportingOverflow(weights).partialValue
            guard (0...Self.parameterLimit).contains(total) else {
                throw .malformed(
                    location: "\(layer.path): shape",
                    reason: "expected at most \(Self.parameterLimit) parameters in all")
            }
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

    /// The bits of layers of text encoders and autoencoder that a recipe does not name: 8 for latent models with an
    /// autoencoder, which these components would dominate in size; nil, no quantization, for others.
    public var defaultComponentsBits: BitWidth? {
        componentLayers.contains { $0.layer.path.rawValue.hasPrefix("vae.") } ? BitWidth(8) : nil
    }

    /// The layers that every recipe gives bits, sorted by path.
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
        case layers, componentLayers, otherParameters, cachesTimeFeatures, container
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(layers, forKey: .layers)
        if !componentLayers.isEmpty { try container.encode(componentLayers, forKey: .componentLayers) }
        try container.encode(otherParameters, forKey: .otherParameters)
        try container.encode(cachesTimeFeatures, forKey: .cachesTimeFeatures)
        try container.encodeIfPresent(self.container, forKey: .container)
    }

    /// Reads `{"layers": [...], "otherParameters": n, "cachesTimeFeatures": true, "componentLayers": [...],
    /// "container": {...}}`; the last two may
    /// be absent.
    ///
    /// - Throws: `RecipeError.duplicateLayer` and `RecipeError.malformed` as the other initializer does.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        try self.init(
            layers: container.decode([LayerShape].self, forKey: .layers),
            otherParameters: container.decode(Int.self, forKey: .otherParameters),
            cachesTimeFeatures: container.decode(Bool.self, forKey: .cachesTimeFeatures))
        componentLayers = try container.decodeIfPresent([ComponentLayer].self, forKey: .componentLayers) ?? []
        let denseLimit = Self.parameterLimit
        if let wrong = componentLayers.first(where: { !(0...denseLimit).contains($0.denseBytes) }) {
            throw RecipeError.malformed(
                location: "\(wrong.layer.path): denseBytes",
                reason: "expected 0 to \(denseLimit) bytes, found \(wrong.denseBytes)")
        }
        self.container = try container.decodeIfPresent(PackedContainer.self, forKey: .container)
        if let found = self.container,
            let wrong = [found.cached, found.layersKept, found.components].first(where: {
                !(0...Self.parameterLimit).contains($0)
            })
        {
            throw RecipeError.malformed(
                location: "container", reason: "expected 0 to \(Self.parameterLimit) bytes, found \(wrong)")
        }
    }
}
