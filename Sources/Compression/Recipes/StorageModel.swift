// SPDX-License-Identifier: Apache-2.0
// A forecast of the bytes that a packed model takes, for a given container of the codes.

/// How a packed file stores codes and scales.
public struct StorageModel: Sendable {
    /// The bytes of `count` codes of `levels` values in their container.
    public let codeBytes: @Sendable (_ count: Int, _ levels: Int) -> Int
    /// The bytes of one scale: 2 or 4.
    public let bytesPerScale: Int

    /// Describes a container; the packing library's byte count is what a packed file really takes.
    public init(bytesPerScale: Int = 4, codeBytes: @escaping @Sendable (_ count: Int, _ levels: Int) -> Int) {
        self.bytesPerScale = bytesPerScale
        self.codeBytes = codeBytes
    }

    /// Each code in its own field of ceil(log2 levels) bits, each layer's fields padded to whole bytes.
    public static let fixedFields = StorageModel { count, levels in
        let width = Int.bitWidth - (levels - 1).leadingZeroBitCount
        return (count * width + 7) / 8
    }

    /// The bytes of a packed model's file: codes and scales of every quantized layer, time features at 16 bits (or the
    /// kept time layers at 32), everything else at 32, and what the container adds, where the inventory knows it.
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
            guard let width = recipe.layers[layer.path] else { throw .missingLayer(path: layer.path) }
            bytes += codeBytes(layer.weights, width.levels) + layer.outputChannels * bytesPerScale
        }
        return bytes
    }
}
