// SPDX-License-Identifier: Apache-2.0
// The size of a recipe. Average bits as in BitsFusion (arXiv 2406.04333, section 3 and appendix):
//     average = (sum_i log2(2^b_i + 1) N_i + 16 N_tf) / N_w
// N_i weights of quantized layer i, N_tf cached time features, N_w weights of all linear and convolution layers, the
// removed time layers included.

/// The average bits of a whole model, from the number of weights at each bit width.
///
/// The sum runs over bit widths, not layers, so that it is exact in the counts and independent of the order of layers.
///
/// - Parameters:
///   - weightsByBits: the number of weights by nominal bits.
///   - timeBits: bits of everything that is stored for the time layers (16 N_tf if cached).
///   - weightCount: N_w, > 0.
/// - Returns: bits per weight.
public func averageBits(weightsByBits: [BitWidth: Int], timeBits: Int, weightCount: Int) -> Double {
    precondition(weightCount > 0, "averageBits: the model has \(weightCount) weights")
    let quantized = BitWidth.all.reduce(0.0) { $0 + $1.effectiveBits * Double(weightsByBits[$1] ?? 0) }
    return (quantized + Double(timeBits)) / Double(weightCount)
}

/// The size of a quantized model, part by part.
public struct SizeAccounting: Equatable, Sendable {
    /// One part of the model.
    public struct Part: Equatable, Sendable {
        /// The number of stored values.
        public let count: Int
        /// Their size in bits; log2(levels) for a quantized weight, independent of its container.
        public let bits: Double

        /// A part of `count` values with `bits` bits in total.
        public init(count: Int, bits: Double) {
            self.count = count
            self.bits = bits
        }

        /// The size in bytes, not rounded.
        public var bytes: Double { bits / 8 }
    }

    /// N_w: the weights of all linear and convolution layers.
    public let weightCount: Int
    /// The number of weights by nominal bits.
    public let weightsByBits: [BitWidth: Int]
    /// The weights of the layers in the recipe.
    public let quantizedWeights: Part
    /// The cached time features at 16 bits, or the kept time layers' weights at 32.
    public let timeFeatures: Part
    /// One scale per output channel of each quantized layer. The paper does not count them.
    public let scales: Part
    /// Norms, biases and embeddings at 32 bits, without the biases of dropped time layers.
    public let otherParameters: Part

    /// Computes the size of `recipe`.
    ///
    /// - Parameters:
    ///   - recipe: bits for exactly the quantized layers of `inventory`.
    ///   - inventory: the model's layers.
    ///   - storage: whether time features are cached.
    ///   - bitsPerScale: 16 or 32.
    /// - Throws: `RecipeError.unknownLayer`, `.notQuantizable` or `.missingLayer`.
    public init(
        recipe: BitRecipe, inventory: ModelInventory, timeFeatures storage: TimeFeatureStorage,
        bitsPerScale: Int = 32
    ) throws(RecipeError) {
        try recipe.validate(against: inventory)
        var weightsByBits: [BitWidth: Int] = [:]
        var scaleCount = 0
        for layer in inventory.quantizedLayers {
            guard let bits = recipe.layers[layer.path] else { throw .missingLayer(path: layer.path) }
            weightsByBits[bits, default: 0] += layer.weights
            scaleCount += layer.outputChannels
        }
        let quantizedBits = BitWidth.all.reduce(0.0) { $0 + $1.effectiveBits * Double(weightsByBits[$1] ?? 0) }
        let time = storage.values(of: inventory)
        let other = inventory.storedOtherParameters(storage)
        weightCount = inventory.weightCount
        self.weightsByBits = weightsByBits
        quantizedWeights = Part(count: weightsByBits.values.reduce(0, +), bits: quantizedBits)
        timeFeatures = Part(count: time.count, bits: Double(time.count * time.bitsPerValue))
        scales = Part(count: scaleCount, bits: Double(scaleCount * bitsPerScale))
        otherParameters = Part(count: other, bits: Double(other) * 32)
    }

    /// The paper's average: quantized weights and time features over all weights, in bits.
    public var averageBits: Double {
        Recipes.averageBits(
            weightsByBits: weightsByBits, timeBits: Int(timeFeatures.bits), weightCount: weightCount)
    }

    /// The bits of `part` per weight of the model: its share of a bit budget.
    public func averageBits(of part: Part) -> Double {
        part.bits / Double(weightCount)
    }
}

extension ModelInventory {
    /// The other parameters of a packed model: without the biases of dropped time layers.
    func storedOtherParameters(_ storage: TimeFeatureStorage) -> Int {
        guard case .cached = storage else { return otherParameters }
        return otherParameters - timeLayers.reduce(0) { $0 + ($1.hasBias ? $1.outputChannels : 0) }
    }
}
