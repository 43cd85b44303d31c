// SPDX-License-Identifier: Apache-2.0
// Decodes the packed layers of a file on all threads, before the model is built, which requests them one by one.

import Packing
import Quantization
import Synchronization
import Tensors

/// The largest number of weights of a packed model, three times that of SDXL. Limited, because a few bytes can encode
/// any number of codes.
private let weightLimit = 1 << 33

extension CheckpointReader {
    /// Decodes the packed layers of a component whose shape is the expected one. Layers that cannot be decoded are
    /// omitted: reading them with `packedLayer(_:of:)` throws the error, in the order in which the model requests
    /// layers.
    ///
    /// - Parameters:
    ///   - component: the component.
    ///   - shapes: the expected shapes of the weights, by the path of the layer.
    /// - Returns: weights by the path of the layer; empty for files that are not packed.
    /// - Throws: `HDF5Error.object` if the shapes have more than `weightLimit` weights.
    func decodePackedLayers(of component: String, shapes: [String: [Int]]) throws -> [String: PackedWeight] {
        guard format == .packed else { return [:] }
        let weightCounts = shapes.mapValues { $0.reduce(1, *) }
        let total = weightCounts.values.reduce(0, +)
        guard total <= weightLimit else {
            throw HDF5Error.object(
                file: path, object: "/",
                fault: .value(expected: "a model of at most \(weightLimit) weights", found: "\(total)"))
        }
        // Largest first, so that the small layers at the end balance the load of the threads.
        let layers = packedLayers(of: component).filter { shapes[$0] != nil }.sorted {
            (weightCounts[$0] ?? 0, $1) > (weightCounts[$1] ?? 0, $0)
        }
        let decoded = Mutex<[String: PackedWeight]>([:])
        let next = Atomic<Int>(0)
        Threads.parallelFor(min(Threads.count, layers.count)) { _ in
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard index < layers.count else { return }
                let layer = layers[index]
                guard let record = try? packedLayer(layer, of: component), record.shape == shapes[layer],
                    let weight = try? PackedWeight(record)
                else { continue }
                decoded.withLock { $0[layer] = weight }
            }
        }
        return decoded.withLock { $0 }
    }
}

extension PackedWeight {
    /// Decodes the weight of a stored layer.
    ///
    /// - Throws: `PackingError` if the bytes do not encode codes of the grid.
    convenience init(_ record: PackedLayerRecord) throws(PackingError) {
        try self.init(
            shape: record.shape, grid: record.grid, encoding: record.encoding, codes: record.codes,
            scales: Tensor(record.scales, shape: [record.scales.count]))
    }
}
