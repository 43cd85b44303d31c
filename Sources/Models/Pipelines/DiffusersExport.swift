// SPDX-License-Identifier: Apache-2.0
// From a checkpoint of any kind to a folder that diffusers loads. Quantized layers are written as the dense weights
// that they compute with. A packed model whose time features are cached has no time layers any more; as training leaves
// them alone, those of the model that it was made from complete it.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors

/// Writes checkpoints as diffusers folders.
public struct DiffusersExport {
    private let reader: CheckpointReader
    private let config: UNet2DConditionConfig

    /// Looks at a checkpoint of any kind.
    ///
    /// - Throws: `ConfigError`.
    public init(_ reader: CheckpointReader) throws {
        self.reader = reader
        try reader.require(architecture: DiffusionPipeline.unetArchitecture)
        config = try UNet2DConditionConfig(json: Data(reader.header.config.utf8))
    }

    /// Whether the file lacks the time layers, so that `write` needs a model to take them from.
    public func needsTimeLayers() throws -> Bool { try reader.timeFeatures() != nil }

    /// Writes the folder.
    ///
    /// - Parameters:
    ///   - folder: where it shall lie; the folder above must exist.
    ///   - type: of every tensor; nil keeps the type of stored tensors and writes quantized layers as Float32.
    ///   - timeLayers: a model of the same architecture with time layers, where this one has none.
    ///   - progress: called with the tensors written and their number; it may throw to interrupt.
    /// - Throws: `CheckpointError`, `ParameterError`, and what `progress` throws. A folder that was not there before
    ///   is removed then.
    /// - Precondition: `timeLayers` is given where `needsTimeLayers()`.
    public func write(
        to folder: String, as type: ElementType?, timeLayers: CheckpointReader?,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let isNew = !FileManager.default.fileExists(atPath: folder)
        do {
            try writeFolder(folder, as: type, tensors: tensors(timeLayers), progress: progress)
        } catch {
            // Only where it is empty again: nothing that lay there before is touched.
            if isNew { rmdir(folder) }
            throw error
        }
    }

    /// A tensor of the folder: copied as it is stored, or computed.
    private enum Content {
        case stored(any TensorSource)
        case computed(any WeightSource)
    }

    private func writeFolder(
        _ folder: String, as type: ElementType?, tensors: [(key: String, content: Content)],
        progress: (Int, Int) throws -> Void
    ) throws {
        var announced: [String: StoredTensor] = [:]
        for (key, content) in tensors {
            switch content {
            case .stored(let source):
                let stored = try source.require(key)
                announced[key] = StoredTensor(
                    type: type.map(StorageType.init) ?? stored.type ?? .float32, shape: stored.shape)
            case .computed(let weight):
                announced[key] = StoredTensor(type: StorageType(type ?? .float32), shape: weight.shape)
            }
        }
        let writer = try DiffusersFolderWriter(
            folder, config: reader.header.config, scheduler: reader.header.scheduler, tensors: announced)
        for (index, (key, content)) in tensors.enumerated() {
            switch content {
            case .stored(let source):
                let bytes = try source.encoded(key, as: type).1
                try bytes.withUnsafeBytes { try writer.write(key, bytes: $0) }
            case .computed(let weight):
                try writer.write(key, withoutGradients { weight.tensor() })
            }
            try progress(index + 1, tensors.count)
        }
        try writer.finish()
    }

    private func tensors(_ timeLayers: CheckpointReader?) throws -> [(key: String, content: Content)] {
        if reader.format == .model {
            try config.checkTensors(of: reader.parameters)
            return reader.parameters.keys.map { ($0, .stored(reader.parameters)) }
        }
        let pipeline = try DiffusionPipeline(reader, precision: .keep16Bit)
        let quantized = Set((reader.quantizedLayers + reader.packedLayers).map { $0 + ".weight" })
        var tensors: [(key: String, content: Content)] = pipeline.unet.store.entries.map { entry in
            quantized.contains(entry.key)
                ? (entry.key, .computed(entry.source)) : (entry.key, .stored(reader.parameters))
        }
        guard try needsTimeLayers() else { return tensors }
        guard let timeLayers else {
            preconditionFailure(
                "diffusers export: \(reader.path) has no time layers, and no model to take them from")
        }
        let model = try DiffusionPipeline(timeLayers, precision: .keep16Bit)
        let missing = model.unet.store.entries.filter { entry in
            let layer = entry.key.split(separator: ".").dropLast().joined(separator: ".")
            return LayerRole(of: LayerID(layer)).isTimeLayer
        }
        tensors += missing.map { ($0.key, .stored(timeLayers.parameters)) }
        return tensors
    }
}
