// SPDX-License-Identifier: Apache-2.0
// The recipe: the nominal bits of each layer. `allocate` writes it; quantization, distillation and `info` read it.

/// The bits of every quantized layer, with totals and origin.
///
///     {"format": "bitsfusion-recipe", "version": 1, "averageBits": 1.99, "storedBytes": 219000000,
///      "method": "threshold", "model": {"path", "sha256"}, "layers": {"conv_in": 8, ...}}
///
/// Only `layers` is required, so that a recipe can be written by hand.
public struct BitRecipe: Equatable, Sendable {
    /// The paper's average over all linear and convolution weights, in bits; nil if not computed.
    public var averageBits: Double?
    /// The same average with the entropy of the codes before training in place of log2(levels); nil if not computed.
    public var entropyBits: Double?
    /// Bytes of the packed file: codes, scales, time features and all other parameters.
    public var storedBytes: Int?
    /// How the bits were chosen: the name of an allocation method, `uniform` or `published`.
    public var method: String?
    /// The metric of the sensitivity table that the allocation minimized.
    public var metric: String?
    /// The inference steps whose time features `averageBits` and `storedBytes` count; 0 if the time layers are kept.
    public var cachedSteps: Int?
    /// The model that the recipe was made for.
    public var model: FileReference?
    /// The origin of a recipe that was not computed.
    public var source: String?
    /// The recipes that were measured on the whole model before this one was kept; nil if none was.
    public var verified: [VerifiedRecipe]?
    /// The run that wrote the recipe.
    public var manifest: RunManifest?
    /// The nominal bits of each quantized layer.
    public var layers: [LayerID: BitWidth]
    /// The dead zones of layers whose weights are not rounded to the nearest code, in 0.5 ..< 1; see `QuantizationGrid`
    /// in the target `Quantization`.
    public var deadZones: [LayerID: Float] = [:]

    /// Makes a recipe; only the bits are required.
    public init(
        layers: [LayerID: BitWidth], averageBits: Double? = nil, storedBytes: Int? = nil,
        method: String? = nil, metric: String? = nil,
        cachedSteps: Int? = nil, model: FileReference? = nil, source: String? = nil,
        manifest: RunManifest? = nil
    ) {
        self.layers = layers
        self.averageBits = averageBits
        self.storedBytes = storedBytes
        self.method = method
        self.metric = metric
        self.cachedSteps = cachedSteps
        self.model = model
        self.source = source
        self.manifest = manifest
    }

    /// The recipe that gives every quantized layer of `inventory` the same bits, the first and last one 8 bits.
    public static func uniform(_ bits: BitWidth, over inventory: ModelInventory) -> BitRecipe {
        var layers: [LayerID: BitWidth] = [:]
        for layer in inventory.quantizedLayers {
            layers[layer.path] = layer.role == .firstOrLast ? .firstAndLast : bits
        }
        return BitRecipe(layers: layers, method: "uniform")
    }

    /// Checks that the recipe lists exactly the quantized layers of `inventory`, and its dead zones.
    ///
    /// - Throws: `RecipeError.unknownLayer`, `.notQuantizable` or `.missingLayer`, for the first such path;
    ///   `.malformed` for a dead zone that is not one.
    public func validate(against inventory: ModelInventory) throws(RecipeError) {
        try validateDeadZones()
        let known = inventory.layers + inventory.componentLayers.map(\.layer)
        let roles = Dictionary(known.map { ($0.path, $0.role) }) { first, _ in first }
        for path in layers.keys.sorted() {
            guard let role = roles[path] else { throw .unknownLayer(path: path, model: model?.path) }
            guard role.acceptsBits else { throw .notQuantizable(path: path, role: role) }
        }
        for layer in inventory.quantizedLayers where layers[layer.path] == nil {
            throw .missingLayer(path: layer.path, model: model?.path)
        }
    }

    private func validateDeadZones() throws(RecipeError) {
        for (path, deadZone) in deadZones.sorted(by: { $0.key < $1.key }) {
            guard layers[path] != nil else {
                throw .malformed(location: "deadZones: \(path)", reason: "not one of the layers")
            }
            guard Self.deadZoneRange.contains(deadZone) else {
                throw .malformed(
                    location: "deadZones: \(path)", reason: "expected 0.5 to below 1, found \(deadZone)")
            }
        }
    }

    /// The valid dead zones. 0.5 is rounding to the nearest code.
    public static let deadZoneRange: Range<Float> = 0.5..<1
}

/// One of the recipes that were measured on the whole model before one was kept. Errors of single layers do not quite
/// add up.
public struct VerifiedRecipe: Codable, Equatable, Sendable {
    /// How its bits were chosen.
    public let method: String
    /// By which allocation metric.
    public let metric: String
    public let averageBits: Double
    /// The total quantization error: the sum of the errors of its layers.
    public let predictedError: Double?
    /// The scores of the model with all layers quantized, without training.
    public let measured: SensitivityScores
    /// Whether it was kept.
    public var isKept: Bool

    public init(
        method: String, metric: String, averageBits: Double, predictedError: Double?,
        measured: SensitivityScores, isKept: Bool = false
    ) {
        (self.method, self.metric, self.averageBits) = (method, metric, averageBits)
        (self.predictedError, self.measured, self.isKept) = (predictedError, measured, isKept)
    }
}

extension BitRecipe: RecipeDocument {
    public static let format = "bitsfusion-recipe"
    public static let version = 2
    public static let requiresHeader = false

    public static let keys: Set<String>? = Set(CodingKeys.allCases.map(\.rawValue))

    enum CodingKeys: String, CodingKey, CaseIterable {
        case format, version, averageBits, entropyBits, storedBytes, method, metric, cachedSteps, model, source,
            verified,
            manifest
        case layers, deadZones
    }

    /// Reads a recipe. Without a `format` key, as in recipes that were written by hand or copied from a publication,
    /// only `layers`, `deadZones` and `source` are read.
    ///
    /// - Throws: `RecipeError.bitsOutOfRange` naming the layer; `DecodingError` for missing or mistyped keys.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let bitsByLayer = try container.nestedContainer(keyedBy: DocumentKey.self, forKey: .layers)
        layers = [:]
        for key in bitsByLayer.allKeys.sorted(by: { $0.stringValue < $1.stringValue }) {
            let path = LayerID(key.stringValue)
            let bits = try Self.bits(of: path, in: bitsByLayer, key: key)
            guard layers.updateValue(bits, forKey: path) == nil else { throw RecipeError.duplicateLayer(path: path) }
        }
        deadZones = try container.decodeIfPresent([LayerID: Float].self, forKey: .deadZones) ?? [:]
        source = try container.decodeIfPresent(String.self, forKey: .source)
        guard container.contains(.format) else { return }
        averageBits = try container.decodeIfPresent(Double.self, forKey: .averageBits)
        entropyBits = try container.decodeIfPresent(Double.self, forKey: .entropyBits)
        storedBytes = try container.decodeIfPresent(Int.self, forKey: .storedBytes)
        method = try container.decodeIfPresent(String.self, forKey: .method)
        metric = try container.decodeIfPresent(String.self, forKey: .metric)
        cachedSteps = try container.decodeIfPresent(Int.self, forKey: .cachedSteps)
        model = try container.decodeIfPresent(FileReference.self, forKey: .model)
        verified = try container.decodeIfPresent([VerifiedRecipe].self, forKey: .verified)
        manifest = try container.decodeIfPresent(RunManifest.self, forKey: .manifest)
    }

    private static func bits(
        of path: LayerID, in container: KeyedDecodingContainer<DocumentKey>, key: DocumentKey
    ) throws(RecipeError) -> BitWidth {
        let nominalBits: Int
        do {
            nominalBits = try container.decode(Int.self, forKey: key)
        } catch {
            // Errors of Foundation do not always have the path of a number that is not an Int.
            throw .malformed(location: "layers: \(path)", reason: "expected a whole number of bits")
        }
        guard let bits = BitWidth(rawValue: nominalBits) else {
            throw .bitsOutOfRange(path: path, found: nominalBits)
        }
        return bits
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(Self.format, forKey: .format)
        try container.encode(Self.version, forKey: .version)
        try container.encodeIfPresent(averageBits, forKey: .averageBits)
        try container.encodeIfPresent(entropyBits, forKey: .entropyBits)
        try container.encodeIfPresent(storedBytes, forKey: .storedBytes)
        try container.encodeIfPresent(method, forKey: .method)
        try container.encodeIfPresent(metric, forKey: .metric)
        try container.encodeIfPresent(cachedSteps, forKey: .cachedSteps)
        try container.encodeIfPresent(model, forKey: .model)
        try container.encodeIfPresent(source, forKey: .source)
        try container.encodeIfPresent(verified, forKey: .verified)
        try container.encodeIfPresent(manifest, forKey: .manifest)
        try container.encode(layers, forKey: .layers)
        if !deadZones.isEmpty { try container.encode(deadZones, forKey: .deadZones) }
    }

    /// Checks that there are layers, that dead zones are those of layers, that totals are finite, and that the cached
    /// steps are in range.
    public func validate() throws(RecipeError) {
        guard !layers.isEmpty else { throw .malformed(location: "layers", reason: "no layers") }
        try validateDeadZones()
        for (name, value) in [("averageBits", averageBits), ("entropyBits", entropyBits)] {
            guard let value, !value.isFinite else { continue }
            throw .malformed(location: name, reason: "expected a finite number, found \(value)")
        }
        if let cachedSteps, !(0...1000).contains(cachedSteps) {
            throw .malformed(location: "cachedSteps", reason: "expected 0 to 1000, found \(cachedSteps)")
        }
    }
}

extension BitRecipe {
    /// This recipe with `bits` for every layer of text encoders and autoencoder that it does not name.
    public func quantizingComponents(_ bits: BitWidth, of inventory: ModelInventory) -> BitRecipe {
        var recipe = self
        for component in inventory.componentLayers where recipe.layers[component.layer.path] == nil {
            recipe.layers[component.layer.path] = bits
        }
        return recipe
    }
}
