// SPDX-License-Identifier: Apache-2.0
// The JSON form of a sensitivity table, and its validation (no NaN reaches the allocator):
// {"format": "bitsfusion-sensitivity", "version": 2,
//  "layers": [{"path", "kind", "role", "group", "weights", "skewness", "bits": {"1": {"mse", "psnr", "perceptual",
//    "clipDrop", "noise", "fisher"}, ...}, "rates": [{"bits", "deadZone", "entropy", "weightError"}]}],
//  "correlations": [{"x", "y", "pearson", "spearman", "layers"}], "sums", "mostSensitive", "symmetricShare",
//  "model", "inventory", "generation", "manifest"}

extension LayerSensitivity: Codable {
    enum CodingKeys: String, CodingKey {
        case path, kind, role, group, weights, skewness, bits, rates
    }

    /// Reads one layer; in tables written by hand `role` may be absent (`searched`), `group` (`other`) and `rates`.
    ///
    /// - Throws: `RecipeError.bitsOutOfRange` and `RecipeError.malformed`, both naming the layer.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        path = try container.decode(LayerID.self, forKey: .path)
        do {
            kind = try container.decode(LayerShape.Kind.self, forKey: .kind)
            role = try container.decodeIfPresent(LayerRole.self, forKey: .role) ?? .searched
            group = try container.decodeIfPresent(LayerGroup.self, forKey: .group) ?? .other
            weights = try container.decode(Int.self, forKey: .weights)
            skewness = try container.decode(Double.self, forKey: .skewness)
            let scores = try container.decode([String: SensitivityScores].self, forKey: .bits)
            bits = try Self.byBits(scores, path: path)
            rates = try container.decodeIfPresent([CodeRate].self, forKey: .rates) ?? []
        } catch {
            // Errors name the layer, not its position in the array.
            guard case .malformed(let location, let reason) = RecipeError(decoding: error, isJSON: true)
            else {
                throw error
            }
            let layerLocation = location.isEmpty ? "\(path)" : "\(path): \(location)"
            throw RecipeError.malformed(location: layerLocation, reason: reason)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(path, forKey: .path)
        try container.encode(kind, forKey: .kind)
        try container.encode(role, forKey: .role)
        try container.encode(group, forKey: .group)
        try container.encode(weights, forKey: .weights)
        try container.encode(skewness, forKey: .skewness)
        try container.encode(bits, forKey: .bits)
        if !rates.isEmpty { try container.encode(rates, forKey: .rates) }
    }

    private static func byBits(
        _ scoresByText: [String: SensitivityScores], path: LayerID
    ) throws(RecipeError) -> [BitWidth: SensitivityScores] {
        var scoresByBits: [BitWidth: SensitivityScores] = [:]
        for (text, scores) in scoresByText.sorted(by: { $0.key < $1.key }) {
            guard let nominalBits = Int(text) else {
                throw .malformed(location: "\(path): bits", reason: "expected nominal bits, found \"\(text)\"")
            }
            guard let bits = BitWidth(rawValue: nominalBits) else {
                throw .bitsOutOfRange(path: path, found: nominalBits)
            }
            scoresByBits[bits] = scores
        }
        return scoresByBits
    }
}

extension SensitivityTable: RecipeDocument {
    public static let format = "bitsfusion-sensitivity"
    public static let version = 2
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
        // Values that follow from the layers are written for readers of the file and not read back.
        try container.encode(sums, forKey: .sums)
        try container.encode(rankings, forKey: .mostSensitive)
        try container.encodeIfPresent(symmetricShare(), forKey: .symmetricShare)
        try container.encodeIfPresent(manifest, forKey: .manifest)
    }

    /// Checks the numbers of every layer, that each is quantized and listed once, and the counts of the inventory.
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
            // Keeps sums exact in Double.
            weights = layer.weights > 1 << 50 ? .max : weights + layer.weights
            guard weights <= 1 << 50 else {
                throw .malformed(
                    location: "\(layer.path): weights",
                    reason: "expected a total of at most 2^50, found \(layer.weights)")
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
        let known = Dictionary(uniqueKeysWithValues: inventory.layers.map { ($0.path, $0) })
        for layer in layers {
            guard let expected = known[layer.path] else { throw .unknownLayer(path: layer.path) }
            guard expected.weights == layer.weights else {
                throw .weightCount(path: layer.path, expected: expected.weights, found: layer.weights)
            }
            guard expected.role == layer.role else {
                throw .malformed(
                    location: "\(layer.path): role",
                    reason: "expected \(expected.role.rawValue) as in the inventory, found \(layer.role.rawValue)")
            }
        }
    }
}

extension LayerSensitivity {
    /// Checks that the layer is quantized and its numbers are finite.
    fileprivate func validate() throws(RecipeError) {
        guard role.acceptsBits else { throw .notQuantizable(path: path, role: role) }
        guard weights > 0 else {
            throw .malformed(
                location: "\(path): weights", reason: "expected a positive count, found \(weights)")
        }
        try requireFinite(skewness, "skewness")
        for (nominalBits, scores) in bits.sorted(by: { $0.key < $1.key }) {
            try validate(scores, "bits.\(nominalBits)")
        }
        for (index, rate) in rates.enumerated() {
            try validate(rate, "rates: [\(index)]")
            let isRepeated = rates[..<index].contains { $0.bits == rate.bits && $0.deadZone == rate.deadZone }
            guard !isRepeated else {
                throw .malformed(
                    location: "\(path): rates: [\(index)]",
                    reason: "repeats the grid of \(rate.bits) bits and dead zone \(rate.deadZone)")
            }
        }
    }

    private func validate(_ rate: CodeRate, _ field: String) throws(RecipeError) {
        guard BitRecipe.deadZoneRange.contains(rate.deadZone) else {
            throw .malformed(
                location: "\(path): \(field): deadZone", reason: "expected 0.5 to below 1, found \(rate.deadZone)")
        }
        for (name, value) in [("entropy", rate.entropy), ("weightError", rate.weightError)] {
            try requireFinite(value, "\(field).\(name)")
            guard value >= 0 else { throw .negative(path: path, field: "\(field).\(name)", found: value) }
        }
        guard rate.entropy <= rate.bits.effectiveBits + 1e-9 else {
            throw .malformed(
                location: "\(path): \(field): entropy",
                reason: "expected at most log2(\(rate.bits.levels)), found \(rate.entropy)")
        }
    }

    private func validate(_ scores: SensitivityScores, _ field: String) throws(RecipeError) {
        var isEmpty = true
        for metric in SensitivityMetric.allCases {
            guard let value = scores[metric] else { continue }
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
