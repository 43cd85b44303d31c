// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint of any kind as a folder that diffusers loads. Quantized layers are written as the dense weights
// that they compute with. A packed model with cached time features has no time layers; training does not change them,
// so they are taken from the model that the file was made from.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors

/// Writes checkpoints as diffusers folders.
public struct DiffusersExport {
    private let reader: CheckpointReader
    private let config: any DenoiserConfig

    /// Prepares to export a checkpoint of any kind.
    ///
    /// - Throws: `ConfigError`.
    public init(_ reader: CheckpointReader) throws {
        self.reader = reader
        config = try DenoiserRegistry.config(architecture: reader.header.architecture, json: reader.header.config)
    }

    /// Whether the file has no time layers, so that `write` needs a model to take them from.
    public func needsTimeLayers() throws -> Bool { try reader.timeFeatures() != nil }

    /// Writes the folder.
    ///
    /// - Parameters:
    ///   - folder: the folder to write; its parent must exist.
    ///   - type: the type of every tensor; nil keeps the type of stored tensors and writes quantized layers as Float32.
    ///   - timeLayers: a model of the same architecture with time layers, where this one has none.
    ///   - progress: called with the tensors written and their number; it may throw to interrupt.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `ParameterError`, and what `progress` throws. A folder
    ///   that did not exist before is then removed. `PipelineError.otherTimeLayers` where `timeLayers` do not give the
    ///   cached features, `TimeFeatureError` where they cannot be computed; nothing is written then.
    /// - Precondition: `timeLayers` is given where `needsTimeLayers()`.
    public func write(
        to folder: String, as type: ElementType?, timeLayers: CheckpointReader?,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let isNew = !FileManager.default.fileExists(atPath: folder)
        do {
            try writeFolder(folder, as: type, tensors: tensors(timeLayers), progress: progress)
        } catch {
            // Fails where the folder is not empty, so that files of others are kept.
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
                let bytes = try source.encoded(key, as: type).bytes
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
        var tensors: [(key: String, content: Content)] = pipeline.denoiser.store.entries.map { entry in
            quantized.contains(entry.key)
                ? (entry.key, .computed(entry.source)) : (entry.key, .stored(reader.parameters))
        }
        guard let cached = try reader.timeFeatures() else { return tensors }
        guard let timeLayers else {
            preconditionFailure(
                "diffusers export: \(reader.path) has no time layers, and no model to take them from")
        }
        let model = try DiffusionPipeline(timeLayers, precision: .keep16Bit)
        try check(model.denoiser, of: timeLayers, gives: cached)
        let missing = model.denoiser.timeLayerEntries
        tensors += missing.map { ($0.key, .stored(timeLayers.parameters)) }
        return tensors
    }

    /// The largest relative difference, root mean square over the features of a residual block, of features that are
    /// equal but for rounding the cached ones to float16, and possibly the weights: one unit of float16's last place.
    /// Rounding the features gives about a fifth of it, rounding the weights two fifths.
    private static let featureTolerance = 0x1p-10

    /// Checks that the time layers of `model` give the features that are cached in the exported file. Models of one
    /// architecture differ in nothing else that shows in a packed file.
    private func check(_ model: any Denoiser, of source: CheckpointReader, gives cached: TimeFeatureRecord) throws {
        let computed = try model.timeFeatureTable(timesteps: cached.timesteps).features
        for (block, expected) in cached.features.sorted(by: { $0.key < $1.key }) {
            let difference = relativeDifference(computed[block], expected)
            // Also refuses NaN.
            guard difference <= Self.featureTolerance else {
                throw PipelineError.otherTimeLayers(
                    file: source.path, packed: reader.path, block: block, difference: difference,
                    limit: Self.featureTolerance)
            }
        }
    }
}

/// ‖a - b‖ / ‖b‖; infinite for tensors of different shapes.
private func relativeDifference(_ a: Tensor?, _ b: Tensor) -> Double {
    guard let a, a.shape == b.shape else { return .infinity }
    var (error, norm) = (0.0, 0.0)
    for (x, y) in zip(a.values, b.values) {
        error += (Double(x) - Double(y)) * (Double(x) - Double(y))
        norm += Double(y) * Double(y)
    }
    if error == 0 { return 0 }
    return norm > 0 ? (error / norm).squareRoot() : .infinity
}
