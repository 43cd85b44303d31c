// SPDX-License-Identifier: Apache-2.0
// A sensitivity table reduced to the numbers that both methods need: the layers to choose for, the fixed layers, and
// the cost of a choice.

import Foundation
import Recipes

/// A sensitivity table and the storage of its time features, checked.
struct AllocationProblem {
    /// A layer whose bits are chosen.
    struct Candidate {
        let path: LayerID
        /// N.
        let weights: Int
        /// The measurements.
        let scores: [BitWidth: SensitivityScores]
        /// The rate-distortion curve of the weights; may be empty.
        let rates: [CodeRate]
        /// The bits that a pin gives it.
        let pinned: BitWidth?
    }

    /// The layers to choose for, sorted by path.
    let candidates: [Candidate]
    /// The weights of the first and last layer, at 8 bits.
    let fixed: [LayerID: Int]
    /// The measurements of the first and last layer at 8 bits.
    let fixedScores: [SensitivityScores]
    /// Bits of everything that is stored for the time layers.
    let timeBits: Int
    /// N_w.
    let weightCount: Int
    /// nil if the listed layers count as the whole model.
    let inventory: ModelInventory?
    private let timeFeatures: TimeFeatureStorage

    /// Takes the measured layers from the table and all others from its inventory. Without an inventory the listed
    /// layers count as the whole model, and no time features are counted.
    ///
    /// - Throws: `AllocationError.table` for faulty tables; `.invalidSteps`; `.pattern`, `.pinnedNothing`.
    init(
        _ table: SensitivityTable, timeFeatures: TimeFeatureStorage, pins: [LayerPin] = []
    ) throws(AllocationError) {
        guard timeFeatures.cachedSteps >= 0 else { throw .invalidSteps(timeFeatures.cachedSteps) }
        do {
            try table.validate()
        } catch {
            throw .table(error)
        }
        let listed = table.layers.sorted { $0.path < $1.path }
        let free = listed.filter { $0.role == .searched }
        let pinned = try Self.pinned(free.map(\.path), pins)
        candidates = free.map {
            Candidate(
                path: $0.path, weights: $0.weights, scores: $0.bits, rates: $0.rates, pinned: pinned[$0.path])
        }
        self.timeFeatures = timeFeatures
        inventory = table.inventory
        fixedScores = listed.filter { $0.role == .firstOrLast }
            .compactMap { $0.bits[.firstAndLast] }
        var fixed: [LayerID: Int] = [:]
        for layer in listed where layer.role == .firstOrLast {
            fixed[layer.path] = layer.weights
        }
        guard let inventory = table.inventory else {
            self.fixed = fixed
            timeBits = 0
            weightCount = listed.reduce(0) { $0 + $1.weights }
            return
        }
        let measured = Set(listed.map(\.path))
        for layer in inventory.quantizedLayers {
            if layer.role == .firstOrLast {
                fixed[layer.path] = layer.weights
            } else if !measured.contains(layer.path) {
                throw .table(.missingLayer(path: layer.path))
            }
        }
        self.fixed = fixed
        let time = timeFeatures.values(of: inventory)
        timeBits = time.count * time.bitsPerValue
        weightCount = inventory.weightCount
    }

    private static func pinned(
        _ paths: [LayerID], _ pins: [LayerPin]
    ) throws(AllocationError) -> [LayerID: BitWidth] {
        var pinned: [LayerID: BitWidth] = [:]
        for pin in pins {
            let regex: Regex<AnyRegexOutput>
            do {
                regex = try Regex(pin.pattern)
            } catch {
                throw .pattern(pin.pattern)
            }
            let matched = paths.filter { $0.rawValue.contains(regex) }
            guard !matched.isEmpty else { throw .pinnedNothing(pin.pattern) }
            for path in matched { pinned[path] = pin.bits }
        }
        return pinned
    }

    /// The average bits of the whole model if candidate i has `bits[i]`.
    func averageBits(_ bits: [BitWidth]) -> Double {
        var weightsByBits: [BitWidth: Int] = [.firstAndLast: fixed.values.reduce(0, +)]
        for (candidate, chosen) in zip(candidates, bits) {
            weightsByBits[chosen, default: 0] += candidate.weights
        }
        return Recipes.averageBits(
            weightsByBits: weightsByBits, timeBits: timeBits, weightCount: weightCount)
    }

    /// The bytes of the packed file if candidate i has `bits[i]`, and text encoders and autoencoder their default bits.
    ///
    /// - Throws: `AllocationError.table`; `.sizeWithoutInventory`.
    func storedBytes(_ bits: [BitWidth], _ storage: StorageModel) throws(AllocationError) -> Int {
        guard let inventory else { throw .sizeWithoutInventory }
        do {
            var recipe = BitRecipe(layers: layers(bits))
            if let componentsBits = inventory.defaultComponentsBits {
                recipe = recipe.quantizingComponents(componentsBits, of: inventory)
            }
            return try storage.storedBytes(recipe: recipe, inventory: inventory, timeFeatures: timeFeatures)
        } catch {
            throw .table(error)
        }
    }

    /// What a budget of average bits limits, if candidate i has the grid `choices[i]`: weights count with their cost.
    func codedBits(_ choices: [LayerChoice]) -> Double {
        let saved = zip(candidates, choices).reduce(0.0) { $0 + $1.1.savedBits * Double($1.0.weights) }
        return averageBits(choices.map(\.bits)) + saved / Double(weightCount)
    }

    /// The average bits if every candidate counts with the entropy of its codes; nil where that is not known.
    func entropyBits(_ choices: [LayerChoice]) -> Double? {
        var coded: [LayerChoice] = []
        for (candidate, choice) in zip(candidates, choices) {
            let deadZone = choice.coded?.deadZone ?? BitRecipe.deadZoneRange.lowerBound
            guard let rate = candidate.rates.first(where: { $0.bits == choice.bits && $0.deadZone == deadZone }) else {
                return nil
            }
            coded.append(LayerChoice(rate, error: choice.error, isExtrapolated: choice.isExtrapolated))
        }
        return codedBits(coded)
    }

    /// The bytes of the packed file if candidate i has the grid `choices[i]`.
    ///
    /// - Throws: as `storedBytes(_:_:)` of bits.
    func storedBytes(_ choices: [LayerChoice], _ storage: StorageModel) throws(AllocationError) -> Int {
        let saved = zip(candidates, choices).reduce(0) { sum, layer in
            let (candidate, choice) = layer
            return sum + choice.codeBytes(candidate.weights, storage)
                - storage.codeBytes(candidate.weights, choice.bits.levels)
        }
        return try storedBytes(choices.map(\.bits), storage) + saved
    }

    /// The bits of every quantized layer if candidate i has `bits[i]`.
    func layers(_ bits: [BitWidth]) -> [LayerID: BitWidth] {
        var layers = fixed.mapValues { _ in BitWidth.firstAndLast }
        for (candidate, chosen) in zip(candidates, bits) { layers[candidate.path] = chosen }
        return layers
    }
}
