// SPDX-License-Identifier: Apache-2.0
// The result of the sensitivity analysis (BitsFusion, arXiv 2406.04333, Algorithm 1, parts 1 and 2): what quantizing
// one layer alone to one width does. `analyze` writes it, `allocate` and `merge` read it.

/// One layer of a sensitivity table.
public struct LayerSensitivity: Equatable, Sendable {
    public var path: LayerID
    public var kind: LayerShape.Kind
    /// N: the number of weights.
    public var weights: Int
    /// Skewness of the weights' distribution: third standardised moment, 0 for a symmetric one.
    public var skewness: Double
    /// The measurements, by nominal width.
    public var bits: [BitWidth: SensitivityScores]

    /// Records one layer.
    public init(
        path: LayerID, kind: LayerShape.Kind, weights: Int, skewness: Double,
        bits: [BitWidth: SensitivityScores]
    ) {
        self.path = path
        self.kind = kind
        self.weights = weights
        self.skewness = skewness
        self.bits = bits
    }
}

/// The sensitivity of every layer of one model.
///
/// Only `layers` is needed; without `inventory`, the layers that are listed are taken for the whole model.
public struct SensitivityTable: Equatable, Sendable {
    /// The model that was analyzed.
    public var model: FileReference?
    /// All of the model's layers, the time layers that no recipe lists included.
    public var inventory: ModelInventory?
    /// How the measures were made.
    public var generation: AnalysisSettings?
    /// The layers, sorted by path when written.
    public var layers: [LayerSensitivity]
    /// How the measures go together, over the layers.
    public var correlations: [SensitivityCorrelation]
    /// The run that wrote the table.
    public var manifest: RunManifest?

    /// Makes a table.
    public init(
        layers: [LayerSensitivity], model: FileReference? = nil, inventory: ModelInventory? = nil,
        generation: AnalysisSettings? = nil, correlations: [SensitivityCorrelation] = [],
        manifest: RunManifest? = nil
    ) {
        self.layers = layers
        self.model = model
        self.inventory = inventory
        self.generation = generation
        self.correlations = correlations
        self.manifest = manifest
    }
}
