// SPDX-License-Identifier: Apache-2.0
// The packed layers of a file, decoded on all cores before the model is built, which asks for them one after the other.

import Checkpoints
import Networks
import Packing
import Quantization
import Recipes
import Synchronization
import Tensors

/// Decoded weights by diffusers path.
struct PackedLayers {
    private var weights: [String: PackedWeight] = [:]

    /// Weights of a packed model at most, three times SD-XL's: streams of a few bytes can claim any number of them.
    private static let mostWeights = 1 << 33

    /// Decodes the layers whose shape is the one that `config` gives them. What is wrong with a layer is left for the model
    /// to come upon, which names the first one.
    init(_ reader: CheckpointReader, config: UNet2DConditionConfig) throws {
        guard reader.format == .packed else { return }
        let expected = try ModelInventory(unet: config).layers.map { ($0.path.rawValue, $0) }
        let shapes = Dictionary(uniqueKeysWithValues: expected)
        let weightCount = expected.reduce(0) { $0 + $1.1.weights }
        guard weightCount <= Self.mostWeights else {
            throw CheckpointError.object(
                file: reader.path, object: "/",
                fault: .value(
                    expected: "a UNet of at most \(Self.mostWeights) weights", found: "\(weightCount)"))
        }
        // The largest first: the last ones even out what the cores have left.
        let layers = reader.packedLayers.filter { shapes[$0] != nil }.sorted {
            (shapes[$0]?.weights ?? 0, $1) > (shapes[$1]?.weights ?? 0, $0)
        }
        let decoded = Mutex<[String: PackedWeight]>([:])
        let next = Atomic<Int>(0)
        Threads.parallelFor(min(Threads.count, layers.count)) { _ in
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard index < layers.count else { return }
                let layer = layers[index]
                guard let record = try? reader.packedLayer(layer), record.shape == shapes[layer]?.shape,
                    let weight = try? PackedWeight(record)
                else { continue }
                decoded.withLock { $0[layer] = weight }
            }
        }
        weights = decoded.withLock { $0 }
    }

    subscript(layer: String) -> PackedWeight? { weights[layer] }
}

extension PackedWeight {
    /// - Throws: `PackingError` where the bytes hold a code that does not exist.
    convenience init(_ record: PackedLayerRecord) throws(PackingError) {
        try self.init(
            shape: record.shape, width: record.width, encoding: record.encoding, codes: record.codes,
            scales: Tensor(record.scales, shape: [record.scales.count]))
    }
}
