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
    /// Whether the encoder of the autoencoder is stored, which only image inputs need.
    public var keepsVAEEncoder = true

    public init(
        encoding: PackingEncoding = .entropy, scaleType: ElementType = .float32, cachedTimesteps: [Int]?
    ) {
        self.encoding = encoding
        self.scaleType = scaleType
        self.cachedTimesteps = cachedTimesteps
    }
}

extension PackingOptions {
    /// Whether the parameter or layer `path` of a component is stored.
    func includes(_ path: String, of component: PipelineComponent) -> Bool {
        keepsVAEEncoder || component.name != CheckpointHeader.vae || !AutoencoderKL.isEncoder(parameter: path)
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
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func writeModel(
        to path: String, manifest: RunManifest, as type: ElementType? = nil, training: TrainingState? = nil
    ) throws {
        let writer = try CheckpointWriter(path, header: try header(.model, manifest))
        for component in components {
            for entry in component.store.entries {
                if let type {
                    try writer.write(entry.key, in: component.section, entry.source.tensor().detached(), as: type)
                } else {
                    try writer.write(entry.key, in: component.section, entry.source)
                }
            }
        }
        try training?.write(with: writer)
        try writer.finish()
    }

    /// Writes a student: latent weights, scales, bits, and the state of an unfinished run.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - training: the state of an unfinished run.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func writeStudent(
        to path: String, manifest: RunManifest,
        training: TrainingState? = nil
    ) throws {
        let writer = try CheckpointWriter(path, header: try header(.student, manifest))
        for component in components {
            for entry in component.store.entries {
                let latent = (entry.source as? FakeQuantizedWeight)?.latent
                try writer.write(entry.key, in: component.section, latent ?? entry.source)
            }
        }
        for component in components {
            for layer in component.store.weightedLayers {
                guard let weight = layer.weight as? FakeQuantizedWeight else { continue }
                try writer.write(
                    QuantizationRecord(path: layer.path, grid: weight.grid, scales: weight.scales),
                    of: component.name)
            }
        }
        try training?.write(with: writer)
        try writer.finish()
    }

    /// Writes a packed model: codes and scales of every quantized layer, cached time features, the denoiser's other
    /// parameters as Float32, and those of other components at 16 bits where these are exact.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - options: encoding and caching.
    ///   - quantization: quantizes dense layers by a recipe while they are packed, one after the other; nil for a
    ///     model whose layers are quantized.
    ///   - progress: called with the layers packed and their number; it may throw to interrupt.
    /// - Throws: `CheckpointError`, `PackingError`, `TimeFeatureError` where time features cannot be cached;
    ///   `RecipeError` for a recipe of another model; `PackedLayerError` for a student with LSQ's grids.
    public func writePacked(
        to path: String, manifest: RunManifest, options: PackingOptions,
        quantization: PostTrainingQuantization? = nil, progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        try quantization?.recipe.validate(against: layerInventory())
        let table = try cachedTimeFeatures(options)
        let writer = try CheckpointWriter(path, header: try header(.packed, manifest))
        let quantized = components.flatMap { component in
            component.store.weightedLayers.filter { layer in
                options.includes(layer.path, of: component)
                    && (layer.isQuantized || quantization?.bits(of: layer, in: component) != nil)
            }.map { (component: component, layer: $0) }
        }
        for (_, layer) in quantized {
            guard let grid = layer.quantizedWeight?.grid, !grid.isBalanced else { continue }
            throw PackedLayerError(file: path, layer: layer.path, fault: .unbalanced(levels: grid.levels))
        }
        for component in components {
            let packed = Set(quantized.filter { $0.component.name == component.name }.map { $0.layer.path + ".weight" })
            for entry in packedEntries(of: component, dropsTimeLayers: table != nil)
            where !packed.contains(entry.key) && options.includes(entry.key, of: component) {
                try writer.write(entry.key, in: component.section, entry.source, as: packedType(of: entry, component))
            }
        }
        // A few layers at a time are packed on all cores; files are written in the order of the model.
        let together = 4 * Threads.count
        for start in stride(from: 0, to: quantized.count, by: together) {
            let part = Array(quantized[start..<min(start + together, quantized.count)])
            let records = try parallelMap(part) {
                try Self.record(of: $0.layer, in: $0.component, options, quantization)
            }
            for (index, record) in records.enumerated() {
                try writer.write(record, of: part[index].component.name, scaleType: options.scaleType)
                try progress(start + index + 1, quantized.count)
            }
        }
        if let table {
            try writer.write(TimeFeatureRecord(timesteps: table.timesteps, features: table.features))
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

    /// The parameters of a component in a packed file, except for weights that are quantized already.
    func packedEntries(of component: PipelineComponent, dropsTimeLayers: Bool) -> [ParameterEntry] {
        component.store.entries.filter { entry in
            !(entry.source is any QuantizedWeight)
                && !(component.isDenoiser && dropsTimeLayers && denoiser.isTimeLayer(parameter: entry.key))
        }
    }

    /// The type of a dense parameter in a packed file; nil for that of the source, 16 or 32 bits.
    func packedType(of entry: ParameterEntry, _ component: PipelineComponent) -> ElementType? {
        if component.isDenoiser { return .float32 }
        return entry.source is Weight16 || !entry.source.tensor().detached().isExactInFloat16 ? nil : .float16
    }

    func header(_ format: CheckpointFormat, _ manifest: RunManifest) throws -> CheckpointHeader {
        let config = denoiser.config
        var configs = [config.component: String(decoding: config.json, as: UTF8.self)]
        var tokenizers: [String: [String: String]] = [:]
        for encoder in textEncoders {
            configs[encoder.name] = String(decoding: encoder.config.json, as: UTF8.self)
            tokenizers[TextEncoder.tokenizerComponent(of: encoder.name)] = encoder.tokenizerFiles?.texts
        }
        configs[CheckpointHeader.vae] = vae.map { String(decoding: $0.config.json, as: UTF8.self) }
        return CheckpointHeader(
            format: format, architecture: config.architecture, component: config.component, configs: configs,
            manifest: try manifest.json(), scheduler: schedulerJSON, modelIndex: modelIndexJSON,
            tokenizer: tokenizerName, tokenizers: tokenizers)
    }

    private func cachedTimeFeatures(_ options: PackingOptions) throws -> TimeFeatureTable? {
        guard let timesteps = options.cachedTimesteps else { return nil }
        if let table = denoiser.timeFeatures {
            try table.validate(timesteps: timesteps)
            return table
        }
        return try denoiser.timeFeatureTable(timesteps: timesteps)
    }

    private static func record(
        of layer: any WeightedLayer, in component: PipelineComponent, _ options: PackingOptions,
        _ quantization: PostTrainingQuantization?
    ) throws -> PackedLayerRecord {
        guard let weight = layer.quantizedWeight ?? quantization?.weight(of: layer, in: component) else {
            preconditionFailure("\(layer.path): its weight has no codes")
        }
        return try PackedLayerRecord(
            path: layer.path, grid: weight.grid, encoding: options.encoding, shape: weight.shape,
            codes: try packCodes(weight.codes, levels: weight.grid.levels, encoding: options.encoding),
            scales: weight.scales.values)
    }
}

/// The results of `transform` for all elements, computed on all cores; the first error by index is thrown.
private func parallelMap<Element, Output: Sendable>(
    _ elements: [Element], _ transform: (Element) throws -> Output
) throws -> [Output] {
    let results = Mutex<[Int: Result<Output, any Error>]>([:])
    nonisolated(unsafe) let elements = elements
    withoutActuallyEscaping(transform) { transform in
        nonisolated(unsafe) let transform = transform
        Threads.parallelFor(elements.count) { range in
            for index in range {
                let result = Result { try transform(elements[index]) }
                results.withLock { $0[index] = result }
            }
        }
    }
    return try results.withLock { found in
        try elements.indices.map { index in
            guard let result = found[index] else { preconditionFailure("element \(index) was not computed") }
            return try result.get()
        }
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
