// SPDX-License-Identifier: Apache-2.0
// Compares a packed model with the model that it was packed from: codes, scales, other parameters, cached time features
// and predictions.

import Layers
import Networks
import Quantization
import Recipes
import Tensors

/// The result of comparing two models with quantized layers.
public struct PackedVerification: Encodable, Sendable {
    /// One difference.
    public struct Difference: Encodable, Sendable {
        /// The layer, parameter or residual block.
        public let name: String
        /// What differs, as text.
        public let detail: String
    }

    /// The difference of the two models' predictions over all their values.
    public struct OutputDifference: Encodable, Sendable {
        /// `int8` or `fp32`.
        public let activations: String
        /// Root of the mean squared difference over that of the mean squared prediction.
        public let relativeRootMeanSquare: Double
        /// Largest difference over the largest magnitude.
        public let relativeMaximum: Double
        /// Whether all predictions are finite; otherwise the numbers above are the largest finite ones.
        public let isFinite: Bool
    }

    /// The numbers of compared quantized layers, of their codes and of their scales.
    public let layers, codes, scales: Int
    /// The numbers of compared values of other parameters, and of cached time features.
    public let otherValues, timeFeatures: Int
    /// Whether the packed file's scales are the student's rounded to 16 bits.
    public let hasRoundedScales: Bool
    /// The differences, in the order of the model.
    public let differences: [Difference]
    /// The differences of noise predictions at cached timesteps, by type of activations; empty for models with added
    /// conditions, of different architectures, or without a common cached timestep.
    public let outputs: [OutputDifference]

    public var isEqual: Bool { differences.isEmpty }

    /// Compares `packed` with `original`, a student or another packed model.
    ///
    /// - Parameters:
    ///   - packed: a model with packed layers; its type of activations is changed and restored.
    ///   - original: a model with quantized layers, packed or in training.
    ///   - seed: the seed of the random inputs.
    /// - Throws: `PipelineError.notQuantized` for a model without quantized layers; `TimeFeatureError`.
    public init(_ packed: DiffusionPipeline, isPackedFrom original: DiffusionPipeline, seed: UInt64) throws {
        var comparison = Comparison()
        guard packed.recipe != nil, original.recipe != nil else { throw PipelineError.notQuantized }
        let hasSameConfig = packed.denoiser.config.isEqual(to: original.denoiser.config)
        if !hasSameConfig { comparison.note("config", "differs from the original's") }
        for component in packed.components {
            guard let other = original.components.first(where: { $0.name == component.name }) else {
                comparison.note(component.name, "is missing in the original")
                continue
            }
            comparison.compare(component, other)
        }
        for component in original.components where !packed.components.contains(where: { $0.name == component.name }) {
            comparison.note(component.name, "is missing in the packed model")
        }
        let table = packed.denoiser.timeFeatures
        if let table { try comparison.compare(table, original.denoiser) }
        layers = comparison.layers
        (codes, scales, otherValues, timeFeatures) = (
            comparison.codes, comparison.scales, comparison.others, comparison.features
        )
        hasRoundedScales = comparison.hasRoundedScales
        outputs =
            hasSameConfig && packed.denoiser.config.addedConditionsType == nil
            ? try Self.outputs(packed, original, timesteps: table?.timesteps, seed: seed) : []
        for output in outputs where !output.isFinite {
            comparison.note(
                "noise predictions",
                "are not finite in one of the models, activations in \(output.activations)")
        }
        differences = comparison.differences
    }

    /// Predictions from random samples and contexts at the first, middle and last timestep.
    private static func outputs(
        _ packed: DiffusionPipeline, _ original: DiffusionPipeline, timesteps: [Int]?, seed: UInt64
    ) throws -> [OutputDifference] {
        let config = packed.denoiser.config
        let originalTimesteps = original.denoiser.timeFeatures?.timesteps
        let common = Set(timesteps ?? originalTimesteps ?? [1, 501, 981]).intersection(
            originalTimesteps ?? timesteps ?? [1, 501, 981])
        let known = common.sorted()
        guard !known.isEmpty else { return [] }
        let chosen = Set(
            [0, known.count / 2, known.count - 1].filter(known.indices.contains).map { known[$0] }
        )
        .sorted()
        var random = Philox(seed: seed)
        let inputs = chosen.map { timestep in
            (
                Float(timestep), random.normal([1, config.inChannels] + packed.sampleShape(batch: 1)[2...]),
                config.usesCrossAttention ? random.normal([1, 16, config.contextSize]) : nil
            )
        }
        func predictions(_ model: DiffusionPipeline) -> [Tensor] {
            withoutGradients {
                inputs.map { timestep, sample, context in
                    model.denoiser(sample, timesteps: .full([1], timestep), encoderHiddenStates: context)
                }
            }
        }
        let before = (packed.activations, original.activations)
        defer { (packed.activations, original.activations) = before }
        // The reference is computed in Float32, for a packed original too.
        original.activations = .float32
        let expected = predictions(original)
        return ActivationType.allCases.map { type in
            packed.activations = type
            return OutputDifference(type, predictions(packed), expected)
        }
    }
}

extension PackedVerification.OutputDifference {
    fileprivate init(_ type: ActivationType, _ found: [Tensor], _ expected: [Tensor]) {
        var (squares, total, largest, largestPrediction) = (0.0, 0.0, 0.0, 0.0)
        for (a, b) in zip(found.flatMap(\.values), expected.flatMap(\.values)) {
            let difference = Double(a) - Double(b)
            squares += difference * difference
            total += Double(b) * Double(b)
            // A NaN is kept.
            largest = largest.isNaN || abs(difference) <= largest ? largest : abs(difference)
            largestPrediction = max(largestPrediction, Double(abs(b)))
        }
        activations = type.rawValue
        let root = (squares / max(total, .leastNormalMagnitude)).squareRoot()
        // JSON has no NaN.
        relativeRootMeanSquare = root.isFinite ? root : .greatestFiniteMagnitude
        isFinite = root.isFinite && largest.isFinite
        relativeMaximum =
            isFinite ? largest / max(largestPrediction, .leastNormalMagnitude) : .greatestFiniteMagnitude
    }
}

/// Codes and scales of a quantized layer.
private struct QuantizedCodes {
    let bits: BitWidth
    let codes: [Int16]
    let scales: [Float]

    init?(_ layer: any WeightedLayer) { self.init(layer.quantizedWeight) }

    init?(_ weight: (any QuantizedWeight)?) {
        guard let weight else { return nil }
        (bits, codes, scales) = (weight.grid.bits, weight.codes, weight.scales.values)
    }
}

/// Counts and differences of a comparison.
private struct Comparison {
    var (layers, codes, scales, others, features) = (0, 0, 0, 0, 0)
    var hasRoundedScales = false
    var differences: [PackedVerification.Difference] = []

    mutating func note(_ name: String, _ detail: String) {
        differences.append(PackedVerification.Difference(name: name, detail: detail))
    }

    /// Compares quantized layers and other parameters of a component.
    mutating func compare(_ component: PipelineComponent, _ original: PipelineComponent) {
        let quantized = component.quantizedLayers
        layers += quantized.count
        for layer in quantized {
            compare(
                layer, original.store.layer(at: layer.path), named: component.layerID(layer.path).rawValue,
                quantizesDense: !component.isDenoiser)
        }
        let packedPaths = Set(quantized.map(\.path))
        for layer in original.quantizedLayers where !packedPaths.contains(layer.path) {
            note(component.layerID(layer.path).rawValue, "is not packed")
        }
        compareParameters(component.store, original.store)
    }

    /// Compares codes and scales of one layer. With `quantizesDense`, a dense original was quantized when it was
    /// packed, as layers of text encoders and autoencoder are.
    mutating func compare(
        _ layer: any WeightedLayer, _ other: (any WeightedLayer)?, named name: String, quantizesDense: Bool
    ) {
        guard let weight = layer.quantizedWeight, let packed = QuantizedCodes(weight), let other,
            other.weight.shape == weight.shape,
            let original = QuantizedCodes(
                other.quantizedWeight
                    ?? (quantizesDense
                        ? FakeQuantizedWeight(latent: other.latentWeight, grid: weight.grid, initialization: .paper)
                        : nil))
        else {
            return note(name, "has no quantized layer of the same shape in the original")
        }
        guard packed.bits == original.bits else {
            return note(name, "has \(packed.bits) bits, in the original \(original.bits)")
        }
        codes += packed.codes.count
        scales += packed.scales.count
        let wrong = zip(packed.codes, original.codes).count { $0 != $1 }
        if wrong > 0 { note(name, "\(wrong) of \(packed.codes.count) codes differ") }
        guard packed.scales != original.scales else { return }
        let rounded = Tensor(original.scales, shape: [original.scales.count]).roundedToFloat16.values
        if packed.scales == rounded {
            hasRoundedScales = true
        } else {
            let wrong = zip(packed.scales, original.scales).count { $0 != $1 }
            note(name, "\(wrong) of \(packed.scales.count) scales differ")
        }
    }

    mutating func compareParameters(_ packed: ParameterStore, _ original: ParameterStore) {
        let originals = Dictionary(uniqueKeysWithValues: original.entries.map { ($0.key, $0.source) })
        for entry in packed.entries {
            guard !(entry.source is any QuantizedWeight) else { continue }
            guard let source = originals[entry.key], source.shape == entry.source.shape else {
                note(entry.key, "has no parameter of the same shape in the original")
                continue
            }
            others += entry.source.shape.reduce(1, *)
            let (a, b) = (entry.source.tensor().values, source.tensor().values)
            let wrong = zip(a, b).count { $0.bitPattern != $1.bitPattern }
            if wrong > 0 { note(entry.key, "\(wrong) of \(a.count) values differ") }
        }
    }

    /// Compares cached time features with those of the original, rounded to 16 bits.
    mutating func compare(_ table: TimeFeatureTable, _ original: any Denoiser) throws {
        let expected: [String: Tensor]
        if let originalTable = original.timeFeatures {
            guard originalTable.timesteps == table.timesteps else {
                return note("time features", "are cached for other timesteps in the original")
            }
            expected = originalTable.features
        } else {
            expected = try original.timeFeatureTable(timesteps: table.timesteps).features
        }
        for (block, found) in table.features.sorted(by: { $0.key < $1.key }) {
            guard let reference = expected[block], reference.shape == found.shape else {
                note(block, "has time features of another shape in the original")
                continue
            }
            features += found.count
            let rounded = reference.roundedToFloat16.values
            let wrong = zip(found.values, rounded).count { $0 != $1 }
            if wrong > 0 { note(block, "\(wrong) of \(found.count) time features differ") }
        }
    }
}
