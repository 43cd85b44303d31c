// SPDX-License-Identifier: Apache-2.0
// Whether a packed model is the student that it was packed from: every code, every scale, every other parameter, the
// cached time features, and what both predict.

import Layers
import Networks
import Quantization
import Recipes
import Tensors

/// What two models with quantized layers have in common.
public struct PackedVerification: Encodable, Sendable {
    /// One thing that differs.
    public struct Difference: Encodable, Sendable {
        /// The layer, parameter or residual block.
        public let place: String
        /// What of it, and how.
        public let what: String
    }

    /// How far the second model's predictions are from the first's, over all values of some predictions.
    public struct OutputDifference: Encodable, Sendable {
        /// `int8` or `fp32`.
        public let activations: String
        /// Root of the mean squared difference over that of the mean squared prediction.
        public let relativeRootMeanSquare: Double
        /// Largest difference over the largest magnitude.
        public let relativeMaximum: Double
        /// Whether all predictions are; where not, the two numbers above are the largest that there are.
        public let isFinite: Bool
    }

    /// Quantized layers, their codes, and their scales.
    public let layers, codes, scales: Int
    /// Other parameters, in values; and cached time features.
    public let otherValues, timeFeatures: Int
    /// Whether the packed file's scales are the student's rounded to 16 bits.
    public let hasRoundedScales: Bool
    /// Everything that is not equal, in the order of the model.
    public let differences: [Difference]
    /// Of noise predictions at cached timesteps; empty where the model needs conditions beside a context, where the
    /// models are of different architectures, and where they have no cached timestep in common.
    public let outputs: [OutputDifference]

    public var isEqual: Bool { differences.isEmpty }

    /// Compares `packed` with `original`, a student or another packed model.
    ///
    /// - Parameters:
    ///   - packed: packed codes; its activations are switched between the two types and left as they were.
    ///   - original: quantized layers, packed or not.
    ///   - seed: of the random inputs that both predict from.
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
        // Those that both know.
        let theirs = original.denoiser.timeFeatures?.timesteps
        let common = Set(timesteps ?? theirs ?? [1, 501, 981]).intersection(
            theirs ?? timesteps ?? [1, 501, 981])
        let known = common.sorted()
        guard !known.isEmpty else { return [] }
        let chosen = Set(
            [0, known.count / 2, known.count - 1].filter(known.indices.contains).map { known[$0] }
        )
        .sorted()
        var random = Philox(seed: seed)
        let inputs = chosen.map { timestep in
            (
                Float(timestep), random.normal(packed.sampleShape(batch: 1)),
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
        // A packed original, too, is what its numbers say, not what rounding makes of them.
        original.activations = .float32
        let wanted = predictions(original)
        return ActivationType.allCases.map { type in
            packed.activations = type
            return OutputDifference(type, predictions(packed), wanted)
        }
    }
}

extension PackedVerification.OutputDifference {
    fileprivate init(_ type: ActivationType, _ found: [Tensor], _ wanted: [Tensor]) {
        var (squares, total, largest, reach) = (0.0, 0.0, 0.0, 0.0)
        for (a, b) in zip(found.flatMap(\.values), wanted.flatMap(\.values)) {
            let difference = Double(a) - Double(b)
            squares += difference * difference
            total += Double(b) * Double(b)
            // A NaN stays.
            largest = largest.isNaN || abs(difference) <= largest ? largest : abs(difference)
            reach = max(reach, Double(abs(b)))
        }
        activations = type.rawValue
        let root = (squares / max(total, .leastNormalMagnitude)).squareRoot()
        // JSON has no NaN.
        relativeRootMeanSquare = root.isFinite ? root : .greatestFiniteMagnitude
        isFinite = root.isFinite && largest.isFinite
        relativeMaximum =
            isFinite ? largest / max(reach, .leastNormalMagnitude) : .greatestFiniteMagnitude
    }
}

/// Codes and scales of a quantized layer, packed or not.
private struct QuantizedCodes {
    let width: BitWidth
    let codes: [Int16]
    let scales: [Float]

    init?(_ layer: any WeightedLayer) {
        guard let weight = layer.quantizedWeight else { return nil }
        (width, codes, scales) = (weight.grid.bits, weight.codes, weight.scales.values)
    }
}

/// What was compared and what was found.
private struct Comparison {
    var (layers, codes, scales, others, features) = (0, 0, 0, 0, 0)
    var hasRoundedScales = false
    var differences: [PackedVerification.Difference] = []

    mutating func note(_ place: String, _ what: String) {
        differences.append(PackedVerification.Difference(place: place, what: what))
    }

    /// Compares quantized layers and other parameters of a component.
    mutating func compare(_ component: PipelineComponent, _ original: PipelineComponent) {
        let quantized = component.quantizedLayers
        layers += quantized.count
        for layer in quantized {
            compare(layer, original.store.layer(at: layer.path), named: component.layerID(layer.path).rawValue)
        }
        let packedPaths = Set(quantized.map(\.path))
        for layer in original.quantizedLayers where !packedPaths.contains(layer.path) {
            note(component.layerID(layer.path).rawValue, "is not packed")
        }
        compareParameters(component.store, original.store)
    }

    mutating func compare(_ layer: any WeightedLayer, _ other: (any WeightedLayer)?, named name: String) {
        guard let mine = QuantizedCodes(layer), let theirs = other.flatMap(QuantizedCodes.init),
            let shape = other?.weight.shape, shape == layer.weight.shape
        else {
            return note(name, "is no quantized layer of the same shape in the original")
        }
        guard mine.width == theirs.width else {
            return note(name, "\(mine.width.rawValue) bits, the original \(theirs.width.rawValue)")
        }
        codes += mine.codes.count
        scales += mine.scales.count
        let wrong = zip(mine.codes, theirs.codes).count { $0 != $1 }
        if wrong > 0 { note(name, "\(wrong) of \(mine.codes.count) codes differ") }
        guard mine.scales != theirs.scales else { return }
        let rounded = Tensor(theirs.scales, shape: [theirs.scales.count]).roundedToFloat16.values
        if mine.scales == rounded {
            hasRoundedScales = true
        } else {
            let wrong = zip(mine.scales, theirs.scales).count { $0 != $1 }
            note(name, "\(wrong) of \(mine.scales.count) scales differ")
        }
    }

    mutating func compareParameters(_ mine: ParameterStore, _ other: ParameterStore) {
        let theirs = Dictionary(uniqueKeysWithValues: other.entries.map { ($0.key, $0.source) })
        for entry in mine.entries {
            guard !(entry.source is any QuantizedWeight) else { continue }
            guard let source = theirs[entry.key], source.shape == entry.source.shape else {
                note(entry.key, "is no parameter of the same shape in the original")
                continue
            }
            others += entry.source.shape.reduce(1, *)
            let (a, b) = (entry.source.tensor().values, source.tensor().values)
            let wrong = zip(a, b).count { $0.bitPattern != $1.bitPattern }
            if wrong > 0 { note(entry.key, "\(wrong) of \(a.count) values differ") }
        }
    }

    /// Cached features against those that the original's time layers make, at 16 bits.
    mutating func compare(_ table: TimeFeatureTable, _ original: any Denoiser) throws {
        let wanted: [String: Tensor]
        if let theirs = original.timeFeatures {
            guard theirs.timesteps == table.timesteps else {
                return note("time features", "are cached for other timesteps")
            }
            wanted = theirs.features
        } else {
            wanted = try original.timeFeatureTable(timesteps: table.timesteps).features
        }
        for (block, mine) in table.features.sorted(by: { $0.key < $1.key }) {
            guard let theirs = wanted[block], theirs.shape == mine.shape else {
                note(block, "has other time features in the original")
                continue
            }
            features += mine.count
            let rounded = theirs.roundedToFloat16.values
            let wrong = zip(mine.values, rounded).count { $0 != $1 }
            if wrong > 0 { note(block, "\(wrong) of \(mine.count) time features differ") }
        }
    }
}
