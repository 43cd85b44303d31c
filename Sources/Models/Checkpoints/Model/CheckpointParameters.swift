// SPDX-License-Identifier: Apache-2.0
// Provides stored tensors as the parameters of a model, which requests them by key while it is built. `checkAllUsed()`
// then checks that the file does not contain other tensors.

import Files
import Layers
import Packing
import Quantization
import Synchronization
import Tensors

/// The element types of a model's weights in memory.
public enum WeightPrecision: Sendable {
    /// Weights with several axes keep a stored 16-bit type, which takes half of the memory, and are converted to
    /// Float32 at each use.
    case keep16Bit
    /// Weights with several axes are rounded to bfloat16 if they are stored in another type.
    case bfloat16
    /// All weights are converted to Float32. Required for training.
    case float32
}

/// The parameters of a model in a file or folder.
public final class CheckpointParameters: ParameterProvider {
    private let source: any TensorSource
    private let precision: WeightPrecision
    private let checkpoint: (reader: CheckpointReader, component: String)?
    private let quantized: Set<String>
    private let packed: Set<String>
    private let decoded: [String: PackedWeight]
    private let used = Mutex<Set<String>>([])

    /// The parameters in a file or folder of dense tensors, such as a safetensors file or a diffusers folder.
    public init(_ source: any TensorSource, precision: WeightPrecision = .float32) {
        self.source = source
        self.precision = precision
        checkpoint = nil
        quantized = []
        packed = []
        decoded = [:]
    }

    /// The parameters of a component in a checkpoint of any kind. Quantized layers get a `FakeQuantizedWeight` in a
    /// student and a `PackedWeight` in a packed model.
    ///
    /// - Parameters:
    ///   - checkpoint: the open file.
    ///   - component: the component, which the file must contain; nil: the main component.
    ///   - precision: the element type of dense weights in memory.
    ///   - shapes: the shapes of the weights of the model, by the path of the layer. Packed layers of these shapes are
    ///     decoded here on all threads, other packed layers on request.
    /// - Throws: `HDF5Error.object` if the component is missing or the layers have more weights than supported.
    public init(
        _ checkpoint: CheckpointReader, component: String? = nil, precision: WeightPrecision = .float32,
        shapes: [String: [Int]] = [:]
    ) throws {
        let component = component ?? checkpoint.header.component
        guard let tensors = checkpoint.parameters(of: component) else {
            throw HDF5Error.object(
                file: checkpoint.path, object: CheckpointSection.component(component).group, fault: .missing)
        }
        source = tensors
        self.precision = precision
        self.checkpoint = (checkpoint, component)
        quantized = Set(checkpoint.quantizedLayers(of: component))
        packed = Set(checkpoint.packedLayers(of: component))
        decoded = try checkpoint.decodePackedLayers(of: component, shapes: shapes)
    }

    /// The parameter stored under `key`.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.elementType`, `.notFinite`, `.exceedsType`;
    ///   `PackedLayerError`; `HDF5Error`.
    public func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        used.withLock { _ = $0.insert(key) }
        let layer = key.hasSuffix(".weight") ? String(key.dropLast(".weight".count)) : ""
        if let checkpoint, packed.contains(layer) {
            return try packedWeight(checkpoint.reader, checkpoint.component, layer, key, shape)
        }
        let stored = try source.require(key)
        try check(stored.shape, shape, key)
        if precision == .keep16Bit, shape.count > 1, let type = stored.type,
            type == .float16 || type == .bfloat16
        {
            return try source.halfWeight(key)
        }
        if precision == .bfloat16, shape.count > 1, !quantized.contains(layer) {
            return try source.halfWeight(key, roundedTo: .bfloat16)
        }
        let value = Parameter(key, try source.tensor(key))
        guard let checkpoint, quantized.contains(layer) else { return value }
        let record = try checkpoint.reader.quantization(of: layer, in: checkpoint.component)
        try check(record.scales.shape, [shape[0]], key + ".scale")
        let scales = Parameter(key + ".scale", record.scales)
        return FakeQuantizedWeight(latent: value, scales: scales, grid: record.grid)
    }

    /// The weight of a quantized layer; nil for a parameter that is stored dense, of which only the shape is checked.
    ///
    /// - Throws: as `weight(_:shape:initializer:)`.
    public func quantizedWeight(_ key: String, shape: [Int]) throws -> (any WeightSource)? {
        let layer = key.hasSuffix(".weight") ? String(key.dropLast(".weight".count)) : ""
        if packed.contains(layer) || quantized.contains(layer) {
            return try weight(key, shape: shape, initializer: .zeros)
        }
        used.withLock { _ = $0.insert(key) }
        try check(try source.require(key).shape, shape, key)
        return nil
    }

    /// Checks, after the model is built, that it uses all tensors of the component.
    ///
    /// - Throws: `CheckpointError.unusedKeys`.
    public func checkAllUsed() throws {
        let asked = used.withLock { $0 }
        let unused =
            source.keys.filter { key in
                // A layer cannot be both packed and dense.
                !asked.contains(key) || key.hasSuffix(".weight") && packed.contains(String(key.dropLast(7)))
            }
            + packed.union(quantized).map { $0 + ".weight" }.filter {
                !asked.contains($0) && source.stored($0) == nil
            }
            .sorted(by: byBytes)
        if !unused.isEmpty { throw CheckpointError.unusedKeys(file: source.path, keys: unused) }
    }

    private func packedWeight(
        _ checkpoint: CheckpointReader, _ component: String, _ layer: String, _ key: String, _ shape: [Int]
    ) throws -> any WeightSource {
        if let weight = decoded[layer], weight.shape == shape { return weight }
        let record = try checkpoint.packedLayer(layer, of: component)
        try check(record.shape, shape, key)
        do {
            return try PackedWeight(record)
        } catch {
            throw PackedLayerError(file: checkpoint.path, layer: layer, fault: .codes(error))
        }
    }

    private func check(_ found: [Int], _ expected: [Int], _ key: String) throws {
        if found != expected {
            throw CheckpointError.shapeMismatch(file: source.path, key: key, expected: expected, found: found)
        }
    }
}
