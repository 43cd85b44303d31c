// SPDX-License-Identifier: Apache-2.0
// The result of the sensitivity analysis (BitsFusion, arXiv 2406.04333, Algorithm 1, parts 1 and 2): the scores of
// each layer quantized alone to each bit width. `analyze` writes it, `allocate` and `merge` read it.

/// One layer of a sensitivity table.
public struct LayerSensitivity: Equatable, Sendable {
    public var path: LayerID
    public var kind: LayerShape.Kind
    /// What quantization does with the layer.
    public var role: LayerRole
    /// The group that its sensitivity is summed in.
    public var group: LayerGroup
    /// N: the number of weights.
    public var weights: Int
    /// Skewness of the weights' distribution: third standardized moment, 0 for a symmetric one.
    public var skewness: Double
    /// The scores by nominal bits.
    public var bits: [BitWidth: SensitivityScores]
    /// The rate-distortion curve of the weights; empty where it was not computed.
    public var rates: [CodeRate]

    /// Records one layer.
    public init(
        path: LayerID, kind: LayerShape.Kind, role: LayerRole, group: LayerGroup, weights: Int, skewness: Double,
        bits: [BitWidth: SensitivityScores], rates: [CodeRate] = []
    ) {
        self.path = path
        self.kind = kind
        self.role = role
        self.group = group
        self.weights = weights
        self.skewness = skewness
        self.bits = bits
        self.rates = rates
    }
}

/// The scores of every quantized layer of one model.
///
/// Only `layers` is required. Without `inventory` the listed layers count as the whole model.
public struct SensitivityTable: Equatable, Sendable {
    /// The model that was analyzed.
    public var model: FileReference?
    /// All layers of the model, including the time layers, which are never quantized.
    public var inventory: ModelInventory?
    /// The settings of the analysis.
    public var generation: AnalysisSettings?
    /// The layers, sorted by path when written.
    public var layers: [LayerSensitivity]
    /// The correlations of the scores over the layers.
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
