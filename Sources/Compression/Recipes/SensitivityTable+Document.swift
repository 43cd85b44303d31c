// SPDX-License-Identifier: Apache-2.0
// The JSON form of a sensitivity table, and the checks that keep NaN out of the allocator:
// {"format": "bitsfusion-sensitivity", "version": 1,
//  "layers": [{"path", "kind", "weights", "skewness", "bits": {"1": {"mse", "psnr", "perceptual",
//    "clipDrop", "noise", "fisher"}, ...}}],
//  "correlations": [{"x", "y", "pearson", "spearman", "layers"}], "sums", "mostSensitive", "symmetricShare",
//  "model", "inventory", "generation", "manifest"}

extension LayerSensitivity: Codable {
    enum CodingKeys: String, CodingKey {
        case path, kind, weights, skewness, bits
    }

    /// Reads one layer.
    ///
    /// - Throws: `RecipeError.bitsOutOfRange` and `RecipeError.malformed`, both naming the layer.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        path = try container.decode(LayerID.self, forKey: .path)
        do {
            kind = try container.decode(LayerShape.Kind.self, forKey: .kind)
            weights = try container.decode(Int.self, forKey: .weights)
            skewness = try container.decode(Double.self, forKey: .skewness)
            let measures = try container.decode([String: SensitivityScores].self, forKey: .bits)
            bits = try Self.widths(of: measures, path: path)
        } catch {
            // The position in the array says nothing to a reader: name the layer.
            guard case .malformed(let location, let reason) = RecipeError(decoding: error, isJSON: true)
            else {
                throw error
            }
            let place = location.isEmpty ? "\(path)" : "\(path): \(location)"
            throw RecipeError.malformed(location: place, reason: reason)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(path, forKey: .path)
        try container.encode(kind, forKey: .kind)
        try container.encode(weights, forKey: .weights)
        try container.encode(skewness, forKey: .skewness)
        try container.encode(bits, forKey: .bits)
    }

    private static func widths(
        of measures: [String: SensitivityScores], path: LayerID
    ) throws(RecipeError) -> [BitWidth: SensitivityScores] {
        var bits: [BitWidth: SensitivityScores] = [:]
        for (text, measure) in measures.sorted(by: { $0.key < $1.key }) {
            guard let nominal = Int(text) else {
                throw .malformed(location: "\(path): bits", reason: "\"\(text)\" is not a nominal width")
            }
            guard let width = BitWidth(rawValue: nominal) else {
                throw .bitsOutOfRange(path: path, found: nominal)
            }
            bits[width] = measure
        }
        return bits
    }
}

extension SensitivityTable: RecipeDocument {
    public static let format = "bitsfusion-sensitivity"
    public static let version = 1
    public static let requiresHeader = true

    enum CodingKeys: String, CodingKey {
        case format, version, model, inventory, generation, layers, correlations, manifest
        case sums, mostSensitive, symmetricShare
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        model = try container.decodeIfPresent(FileReference.self, forKey: .model)
        inventory = try container.decodeIfPresent(ModelInventory.self, forKey: .inventory)
        generation = try container.decodeIfPresent(AnalysisSettings.self, forKey: .generation)
        layers = try container.decode([LayerSensitivity].self, forKey: .layers)
        correlations =
            try container.decodeIfPresent([SensitivityCorrelation].self, forKey: .correlations) ?? []
        manifest = try container.decodeIfPresent(RunManifest.self, forKey: .manifest)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(Self.format, forKey: .format)
        try container.encode(Self.version, forKey: .version)
        try container.encodeIfPresent(model, forKey: .model)
        try container.encodeIfPresent(inventory, forKey: .inventory)
        try container.encodeIfPresent(generation, forKey: .generation)
        try container.encode(layers.sorted { $0.path < $1.path }, forKey: .layers)
        try container.encode(correlations, forKey: .correlations)
        // What follows from the layers is written for readers of the file, and not read back.
        try container.encode(sums, forKey: .sums)
        try container.encode(rankings, forKey: .mostSensitive)
        try container.encodeIfPresent(symmetricShare(), forKey: .symmetricShare)
        try container.encodeIfPresent(manifest, forKey: .manifest)
    }

    /// Checks every layer's numbers, that no layer is listed twice or never quantized, and the inventory's counts.
    ///
    /// - Throws: `RecipeError`: `duplicateLayer`, `notQuantizable`, `malformed`, `nonFinite`, `negative`,
    ///   `unknownLayer` or `weightCount`, for the first faulty layer.
    public func validate() throws(RecipeError) {
        guard !layers.isEmpty else { throw .malformed(location: "layers", reason: "no layers") }
        var seen: Set<LayerID> = []
        var weights = 0
        for layer in layers {
            guard seen.insert(layer.path).inserted else { throw .duplicateLayer(path: layer.path) }
            try layer.validate()
            // So that sums are exact in whatever they are counted.
            weights = layer.weights > 1 << 50 ? .max : weights + layer.weights
            guard weights <= 1 << 50 else {
                throw .malformed(
                    location: "\(layer.path): weights", reason: "too many to count, \(layer.weights)")
            }
        }
        for correlation in correlations {
            for value in [correlation.pearson, correlation.spearman ?? 0] where !(-1...1).contains(value) {
                throw .malformed(
                    location: "correlations: \(correlation.x), \(correlation.y)",
                    reason: "expected a number in -1...1, found \(value)")
            }
        }
        guard let inventory else { return }
        var counts: [LayerID: Int] = [:]
        for layer in inventory.layers { counts[layer.path] = layer.weights }
        for layer in layers {
            guard let expected = counts[layer.path] else { throw .unknownLayer(path: layer.path) }
            guard expected == layer.weights else {
                throw .weightCount(path: layer.path, expected: expected, found: layer.weights)
            }
        }
    }
}

extension LayerSensitivity {
    /// Checks that the layer is one that is quantized and that its numbers are numbers.
    fileprivate func validate() throws(RecipeError) {
        let role = LayerRole(of: path)
        guard role.isQuantized else { throw .notQuantizable(path: path, role: role) }
        guard weights > 0 else {
            throw .malformed(
                location: "\(path): weights", reason: "expected a positive count, found \(weights)")
        }
        try requireFinite(skewness, "skewness")
        for (width, measure) in bits.sorted(by: { $0.key < $1.key }) {
            try validate(measure, "bits.\(width)")
        }
    }

    private func validate(_ measure: SensitivityScores, _ field: String) throws(RecipeError) {
        var isEmpty = true
        for metric in SensitivityMetric.allCases {
            guard let value = measure[metric] else { continue }
            isEmpty = false
            try requireFinite(value, "\(field).\(metric.rawValue)")
            guard value >= 0 || !metric.isNonNegative else {
                throw .negative(path: path, field: "\(field).\(metric.rawValue)", found: value)
            }
        }
        guard !isEmpty else {
            let known = SensitivityMetric.allCases.map(\.rawValue).joined(separator: ", ")
            throw .malformed(location: "\(path): \(field)", reason: "expected one of \(known), found none")
        }
    }

    private func requireFinite(_ value: Double, _ field: String) throws(RecipeError) {
        guard !value.isFinite else { return }
        throw .nonFinite(path: path, field: field, found: "\(value)")
    }
}
