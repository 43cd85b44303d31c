// SPDX-License-Identifier: Apache-2.0
// Writes a pipeline as a dense model, a student or a packed model.

import Checkpoints
import Files
import Foundation
import Layers
import Networks
import Packing
import Quantization
import Recipes
import Schedulers
import Synchronization
import Tensors

/// How a packed model is stored.
public struct PackingOptions: Hashable, Sendable {
    public var encoding: PackingEncoding
    /// Float16 halves the scales' bytes at a relative error of 2^-11.
    public var scaleType: ElementType
    /// The timesteps whose time features are cached, in place of the time layers; nil keeps the layers.
    public var cachedTimesteps: [Int]?

    public init(
        encoding: PackingEncoding = .entropy, scaleType: ElementType = .float32, cachedTimesteps: [Int]?
    ) {
        self.encoding = encoding
        self.scaleType = scaleType
        self.cachedTimesteps = cachedTimesteps
    }
}

extension DiffusionPipeline {
    /// Writes every parameter as floats; quantized layers are written as the dense weights that they compute with.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - type: the type of every tensor; nil keeps 16-bit weights and writes the rest as Float32.
    ///   - training: the state of an unfinished run.
    /// - Throws: `CheckpointError`.
    public func writeModel(
        to path: String, manifest: RunManifest, as type: ElementType? = nil, training: TrainingState? = nil
    ) throws {
        let writer = try CheckpointWriter(path, header: try header(.model, manifest))
        for entry in denoiser.store.entries {
            if let type {
                try writer.write(entry.key, entry.source.tensor().detached(), as: type)
            } else {
                try writer.write(entry.key, entry.source)
            }
        }
        try writeTextEncoder(with: writer, as: type ?? .float32)
        try training?.write(with: writer)
        try writer.finish()
    }

    /// Writes a student: latent weights, scales, bits, and the state of an unfinished run.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - training: the state of an unfinished run.
    /// - Throws: `CheckpointError`.
    public func writeStudent(
        to path: String, manifest: RunManifest,
        training: TrainingState? = nil
    ) throws {
        let writer = try CheckpointWriter(path, header: try header(.student, manifest))
        for component in components {
            let section = CheckpointSection.component(component.name)
            for entry in component.store.entries {
                let latent = (entry.source as? FakeQuantizedWeight)?.latent
                if component.isDenoiser {
                    try writer.write(entry.key, latent ?? entry.source)
                } else {
                    try writer.write(entry.key, in: section, (latent ?? entry.source).tensor().detached())
                }
            }
        }
        for component in components {
            for layer in component.store.weightedLayers {
                guard let weight = layer.weight as? FakeQuantizedWeight else { continue }
                try writer.write(
                    QuantizationRecord(path: layer.path, width: weight.grid.bits, scales: weight.scales),
                    of: component.name)
            }
        }
        try training?.write(with: writer)
        try writer.finish()
    }

    /// Writes a packed model: codes and scales of every quantized layer, cached time features, the text encoder, all
    /// else as Float32.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - options: encoding and caching.
    ///   - progress: called with the layers packed and their number; it may throw to interrupt.
    /// - Throws: `CheckpointError`, `PackingError`, `TimeFeatureError` where time features cannot be cached.
    public func writePacked(
        to path: String, manifest: RunManifest, options: PackingOptions,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let table = try cachedTimeFeatures(options)
        let writer = try CheckpointWriter(path, header: try header(.packed, manifest))
        let quantized = components.flatMap { component in
            component.quantizedLayers.map { (component: component.name, layer: $0) }
        }
        for entry in packedEntries(dropsTimeLayers: table != nil) { try writer.write(entry.key, entry.source) }
        // A few layers at a time are packed on all cores; files are written in the order of the model.
        let together = 4 * Threads.count
        for start in stride(from: 0, to: quantized.count, by: together) {
            let part = Array(quantized[start..<min(start + together, quantized.count)])
            for (index, record) in try records(of: part.map(\.layer), options).enumerated() {
                try writer.write(record, of: part[index].component, scaleType: options.scaleType)
                try progress(start + index + 1, quantized.count)
            }
        }
        if let table {
            try writer.write(TimeFeatureRecord(timesteps: table.timesteps, features: table.features))
        }
        for (key, tensor, type) in packedTextEncoder {
            try writer.write(key, in: .textEncoder, tensor, as: type)
        }
        try writer.finish()
    }

    /// The timesteps of the samplers `kinds` in `steps` steps, ascending and without duplicates.
    ///
    /// - Throws: `SamplerError`, `ConfigError`; `TimeFeatureError.fractionalTimestep` for a sampler with timesteps
    ///   that are not whole numbers.
    public func samplerTimesteps(_ kinds: [SamplerKind], steps: Int) throws -> [Int] {
        let visited = try kinds.flatMap { kind in
            try TimeFeatureTable.wholeTimesteps(samplerConfig(kind).sampler(kind, steps: steps).timesteps)
        }
        return Set(visited).sorted()
    }

    /// The denoiser's parameters in a packed file in addition to the weights of quantized layers.
    func packedEntries(dropsTimeLayers: Bool) -> [ParameterEntry] {
        denoiser.store.entries.filter { entry in
            !(entry.source is any QuantizedWeight) && !(dropsTimeLayers && denoiser.isTimeLayer(parameter: entry.key))
        }
    }

    /// The text encoder's parameters in a packed file in addition to the weights of quantized layers: at 16 bits where
    /// these are exact.
    var packedTextEncoder: [(key: String, tensor: Tensor, type: ElementType)] {
        (textEncoder?.store.entries ?? []).filter { !($0.source is any QuantizedWeight) }.map { entry in
            let tensor = entry.source.tensor().detached()
            return (entry.key, tensor, tensor.isExactInFloat16 ? .float16 : .float32)
        }
    }

    func header(_ format: CheckpointFormat, _ manifest: RunManifest) throws -> CheckpointHeader {
        return CheckpointHeader(
            format, of: denoiser.config, manifest: try manifest.json(), scheduler: schedulerJSON,
            textConfig: try textEncoder.map {
                String(decoding: try JSONEncoder.compact.encode($0.config), as: UTF8.self)
            },
            tokenizer: tokenizerName)
    }

    private func writeTextEncoder(with writer: CheckpointWriter, as type: ElementType) throws {
        for entry in textEncoder?.store.entries ?? [] {
            try writer.write(entry.key, in: .textEncoder, entry.source.tensor().detached(), as: type)
        }
    }

    private func cachedTimeFeatures(_ options: PackingOptions) throws -> TimeFeatureTable? {
        guard let timesteps = options.cachedTimesteps else { return nil }
        if let table = denoiser.timeFeatures {
            try table.validate(timesteps: timesteps)
            return table
        }
        return try denoiser.timeFeatureTable(timesteps: timesteps)
    }

    private func records(
        of layers: [any WeightedLayer], _ options: PackingOptions
    ) throws -> [PackedLayerRecord] {
        let packed = Mutex<[Int: Result<PackedLayerRecord, any Error>]>([:])
        nonisolated(unsafe) let layers = layers
        Threads.parallelFor(layers.count) { range in
            for index in range {
                let record = Result { try Self.record(of: layers[index], options) }
                packed.withLock { $0[index] = record }
            }
        }
        return try packed.withLock { found in
            try layers.indices.map { index in
                guard let record = found[index] else { preconditionFailure("a layer was not packed") }
                return try record.get()
            }
        }
    }

    private static func record(
        of layer: any WeightedLayer, _ options: PackingOptions
    ) throws -> PackedLayerRecord {
        guard let weight = layer.quantizedWeight else {
            preconditionFailure("\(layer.path): its weight has no codes")
        }
        return try PackedLayerRecord(
            path: layer.path, width: weight.grid.bits, encoding: options.encoding, shape: weight.shape,
            codes: try packCodes(weight.codes, levels: weight.grid.levels, encoding: options.encoding),
            scales: weight.scales.values)
    }
}

extension CheckpointHeader {
    /// The header of a file whose main component is a denoiser of the architecture `config`.
    init(
        _ format: CheckpointFormat, of config: any DenoiserConfig, manifest: String, scheduler: String? = nil,
        textConfig: String? = nil, tokenizer: String? = nil
    ) {
        self.init(
            format: format, architecture: config.architecture, component: config.component,
            config: String(decoding: config.json, as: UTF8.self), manifest: manifest, scheduler: scheduler,
            textConfig: textConfig, tokenizer: tokenizer)
    }
}
