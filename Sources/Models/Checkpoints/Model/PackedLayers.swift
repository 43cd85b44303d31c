// SPDX-License-Identifier: Apache-2.0
// Decodes the packed layers of a file on all cores, before the model is built, which asks for them one by one.

import Packing
import Quantization
import Synchronization
import Tensors

/// The largest number of weights of a packed model, three times SDXL's: streams of a few bytes can claim any number.
private let weightLimit = 1 << 33

extension CheckpointReader {
    /// Decodes the packed layers of a component whose shape is the expected one. A layer that cannot be decoded is left
    /// out: reading it again with `packedLayer(_:)` reports what is wrong, in the order in which the model asks for
    /// layers.
    ///
    /// - Parameters:
    ///   - component: the component.
    ///   - shapes: the expected shape of the weight of each layer, by path.
    /// - Returns: weights by layer path; none for files that are not packed.
    /// - Throws: `HDF5Error.object` where the shapes have more weights than any model.
    func decodePackedLayers(of component: String, shapes: [String: [Int]]) throws -> [String: PackedWeight] {
        guard format == .packed else { return [:] }
        let weightCounts = shapes.mapValues { $0.reduce(1, *) }
        let total = weightCounts.values.reduce(0, +)
        guard total <= weightLimit else {
            throw HDF5Error.object(
                file: path, object: "/",
                fault: .value(expected: "a model of at most \(weightLimit) weights", found: "\(total)"))
        }
        // Largest first, so that the last layers, which are small, balance the load of the cores.
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
    /// The weight of a stored layer.
    ///
    /// - Throws: `PackingError` where the bytes hold a code outside of the grid.
    convenience init(_ record: PackedLayerRecord) throws(PackingError) {
        try self.init(
            shape: record.shape, bits: record.width, encoding: record.encoding, codes: record.codes,
            scales: Tensor(record.scales, shape: [record.scales.count]))
    }
}
