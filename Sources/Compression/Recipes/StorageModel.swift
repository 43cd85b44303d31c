// SPDX-License-Identifier: Apache-2.0
// A forecast of the size of a packed file: how it stores codes and scales, and what it stores for the time layers
// (BitsFusion, arXiv 2406.04333, section 4.1, time caching).

/// Whether time features are cached or the layers that make them are kept.
public enum TimeFeatureStorage: Hashable, Sendable {
    /// The features of `steps` inference steps are stored at 16 bits and the time layers are dropped.
    case cached(steps: Int)
    /// The time layers are kept at 32 bits. Required for models whose time features depend on more than the timestep.
    case layersKept

    /// The paper's setting: 50 steps.
    public static let paper = TimeFeatureStorage.cached(steps: 50)

    /// The number of cached steps; 0 if the layers are kept.
    public var cachedSteps: Int {
        switch self {
        case .cached(let steps): steps
        case .layersKept: 0
        }
    }

    /// Bits of one cached time feature.
    public static let bitsPerFeature = 16

    /// The values that are stored for the time layers of a model.
    ///
    /// - Returns: the number of values and the bits of each.
    public func values(of inventory: ModelInventory) -> (count: Int, bitsPerValue: Int) {
        switch self {
        case .cached(let steps):
            (steps * inventory.timeFeaturesPerStep, Self.bitsPerFeature)
        case .layersKept:
            (inventory.timeLayers.reduce(0) { $0 + $1.weights }, 32)
        }
    }
}

/// How a packed file stores codes and scales.
public struct StorageModel: Sendable {
    /// The bytes of `count` codes of `levels` values.
    public let codeBytes: @Sendable (_ count: Int, _ levels: Int) -> Int
    /// The bytes of one scale: 2 or 4.
    public let bytesPerScale: Int

    /// Describes a container. Packed files take the byte count of the target `Packing`.
    public init(bytesPerScale: Int = 4, codeBytes: @escaping @Sendable (_ count: Int, _ levels: Int) -> Int) {
        self.bytesPerScale = bytesPerScale
        self.codeBytes = codeBytes
    }

    /// Each code in a field of ceil(log2 levels) bits; the fields of a layer are padded to whole bytes.
    public static let fixedFields = StorageModel { count, levels in
        let fieldBits = Int.bitWidth - (levels - 1).leadingZeroBitCount
        return (count * fieldBits + 7) / 8
    }

    /// The bytes of `count` codes with the encoding `entropy`, forecast from their entropy in bits per code. Real
    /// streams are smaller or larger by some bytes.
    public static func entropyCodedBytes(count: Int, entropy: Double) -> Int {
        Int((Double(count) * entropy / 8).rounded(.up)) + streamOverhead
    }

    /// The bytes of an entropy-coded stream beyond the entropy of its codes: frequencies and the final state of the
    /// coder.
    private static let streamOverhead = 24

    /// The bytes of a packed file: codes and scales of every quantized layer, time features at 16 bits (or the kept
    /// time layers at 32), all other parameters at 32 bits, and the overhead of the container, if the inventory has
    /// it.
    ///
    /// - Returns: bytes.
    /// - Throws: `RecipeError.unknownLayer`, `.notQuantizable` or `.missingLayer`.
    public func storedBytes(
        recipe: BitRecipe, inventory: ModelInventory, timeFeatures storage: TimeFeatureStorage
    ) throws(RecipeError) -> Int {
        try recipe.validate(against: inventory)
        let time = storage.values(of: inventory)
        var bytes = time.count * time.bitsPerValue / 8 + inventory.storedOtherParameters(storage) * 4
        bytes += inventory.container?.bytes(storage) ?? 0
        for layer in inventory.quantizedLayers {
            guard let bits = recipe.layers[layer.path] else { throw .missingLayer(path: layer.path) }
            bytes += quantizedBytes(layer, bits)
        }
        for component in inventory.componentLayers {
            guard let bits = recipe.layers[component.layer.path] else { continue }
            bytes += quantizedBytes(component.layer, levels: bits.levelsInByte) - component.denseBytes
        }
        return bytes
    }

    /// The bytes of codes and scales of one layer.
    public func quantizedBytes(_ layer: LayerShape, _ bits: BitWidth) -> Int {
        quantizedBytes(layer, levels: bits.levels)
    }

    /// The bytes of codes and scales of one layer on a grid of `levels` levels.
    public func quantizedBytes(_ layer: LayerShape, levels: Int) -> Int {
        codeBytes(layer.weights, levels) + layer.outputChannels * bytesPerScale
    }
}
