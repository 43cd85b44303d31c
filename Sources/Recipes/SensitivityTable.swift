// SPDX-License-Identifier: Apache-2.0
// The result of the sensitivity analysis (BitsFusion, arXiv 2406.04333, Algorithm 1, parts 1 and 2): what quantizing
// one layer alone to one width does to the generated images. `analyze` writes it, `allocate` and `report` read it.

/// The damage of one layer at one width, over the images of all prompts and seeds.
public struct SensitivityMeasure: Hashable, Codable, Sendable {
    /// M: mean squared error between the images of the quantized and the full-precision model, >= 0.
    public var mse: Double
    /// Peak signal-to-noise ratio of the same images in dB; nil where they are equal (it would be infinite).
    public var psnr: Double?
    /// CLIP score of the full-precision images minus that of the quantized ones: positive is worse. Nil where no
    /// text-image scorer was at hand.
    public var clipDrop: Double?

    /// Records one measurement.
    public init(mse: Double, psnr: Double?, clipDrop: Double?) {
        self.mse = mse
        self.psnr = psnr
        self.clipDrop = clipDrop
    }

    enum CodingKeys: String, CodingKey {
        case mse, psnr, clipDrop
    }

    /// Writes all three keys, null where there is no value.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(mse, forKey: .mse)
        try container.encode(psnr, forKey: .psnr)
        try container.encode(clipDrop, forKey: .clipDrop)
    }
}

/// One layer of a sensitivity table.
public struct LayerSensitivity: Equatable, Sendable {
    public var path: LayerID
    public var kind: LayerShape.Kind
    /// N: the number of weights.
    public var weights: Int
    /// Skewness of the weights' distribution: third standardised moment, 0 for a symmetric one.
    public var skewness: Double
    /// The measurements, by nominal width.
    public var bits: [BitWidth: SensitivityMeasure]

    /// Records one layer.
    public init(
        path: LayerID, kind: LayerShape.Kind, weights: Int, skewness: Double,
        bits: [BitWidth: SensitivityMeasure]
    ) {
        self.path = path
        self.kind = kind
        self.weights = weights
        self.skewness = skewness
        self.bits = bits
    }
}

/// How the images of a sensitivity analysis were made: everything that has to stay the same for two tables to compare.
public struct SensitivityProtocol: Hashable, Codable, Sendable {
    /// The prompts, in order; empty where embeddings were given instead.
    public var prompts: [String]
    /// The file of text embeddings that took the prompts' place.
    public var embeddings: FileReference?
    /// The seed of the initial noise of each image.
    public var seeds: [UInt64]
    /// The sampler's name, such as `pndm`.
    public var sampler: String
    /// Sampling steps per image.
    public var steps: Int
    public var guidanceScale: Double
    /// Training steps that each quantized layer was given before it was measured.
    public var qatSteps: Int

    /// Pins a protocol.
    public init(
        prompts: [String], embeddings: FileReference? = nil, seeds: [UInt64], sampler: String, steps: Int,
        guidanceScale: Double, qatSteps: Int
    ) {
        self.prompts = prompts
        self.embeddings = embeddings
        self.seeds = seeds
        self.sampler = sampler
        self.steps = steps
        self.guidanceScale = guidanceScale
        self.qatSteps = qatSteps
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
    /// How the images were made.
    public var generation: SensitivityProtocol?
    /// The layers, sorted by path when written.
    public var layers: [LayerSensitivity]
    /// How the measures go together, over the layers.
    public var correlations: [SensitivityCorrelation]
    /// The run that wrote the table.
    public var manifest: RunManifest?

    /// Makes a table.
    public init(
        layers: [LayerSensitivity], model: FileReference? = nil, inventory: ModelInventory? = nil,
        generation: SensitivityProtocol? = nil, correlations: [SensitivityCorrelation] = [],
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
