// SPDX-License-Identifier: Apache-2.0
// Opens a checkpoint of any kind as a pipeline.

import Checkpoints
import Foundation
import Layers
import Networks
import Quantization
import Recipes
import Tensors

extension DiffusionPipeline {
    /// Opens a dense model, a student or a packed model.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - precision: `.keep16Bit` leaves large 16-bit weights in 16 bits; training needs `.float32`.
    /// - Throws: `FileError`, `JSONError`, `HDF5Error`, `CheckpointError`, `PackedLayerError`, `ConfigError`,
    ///   `ParameterError`, `TimeFeatureError`.
    public convenience init(contentsOf path: String, precision: WeightPrecision = .float32) throws {
        try self.init(CheckpointReader(path), precision: precision)
    }

    /// Builds the model from an open checkpoint; every tensor of the file must be used.
    ///
    /// - Throws: as `init(contentsOf:precision:)`.
    public convenience init(_ reader: CheckpointReader, precision: WeightPrecision = .float32) throws {
        let config = try DenoiserRegistry.config(architecture: reader.header.architecture, json: reader.header.config)
        let layers = reader.format == .packed ? try config.skeleton().store.weightedLayers : []
        let parameters = try CheckpointParameters(
            reader, precision: precision,
            shapes: Dictionary(uniqueKeysWithValues: layers.map { ($0.path, $0.weight.shape) }))
        let table = try reader.timeFeatures().map {
            TimeFeatureTable(timesteps: $0.timesteps, features: $0.features)
        }
        let denoiser = try config.model(ParameterPath(ParameterStore(provider: parameters)), timeFeatures: table)
        try parameters.checkAllUsed()
        let encoder = try CLIPTextModel(in: reader)
        if let encoder { try Self.check(encoder, for: config) }
        try self.init(
            denoiser: denoiser, textEncoder: encoder, tokenizerName: reader.header.tokenizer,
            schedulerJSON: reader.header.scheduler)
    }

    /// - Throws: `PipelineError.crossAttentionDim` for a text encoder of another denoiser.
    private static func check(_ encoder: CLIPTextModel, for config: any DenoiserConfig) throws(PipelineError) {
        guard !config.usesCrossAttention || config.contextSize == encoder.config.hiddenSize else {
            throw .crossAttentionDim(expected: config.contextSize, found: encoder.config.hiddenSize)
        }
    }

    /// The type that packed layers quantize their inputs to; `.int8`, without meaning, for models without packed
    /// layers.
    public var activations: ActivationType {
        get { packedWeights.first?.activations ?? .int8 }
        set { for weight in packedWeights { weight.activations = newValue } }
    }

    /// Whether layers hold packed codes.
    public var isPacked: Bool { !packedWeights.isEmpty }

    private var packedWeights: [PackedWeight] {
        components.flatMap { $0.store.weightedLayers.compactMap { $0.weight as? PackedWeight } }
    }

    /// The bits of the quantized layers of a student or packed model; nil for a dense one.
    public var recipe: BitRecipe? {
        var layers: [LayerID: BitWidth] = [:]
        for component in components {
            for layer in component.store.weightedLayers {
                if let weight = layer.quantizedWeight { layers[component.layerID(layer.path)] = weight.grid.bits }
            }
        }
        return layers.isEmpty ? nil : BitRecipe(layers: layers)
    }
}

extension CLIPTextModel {
    /// The text encoder of a checkpoint; nil where it has none. Every tensor of it must be used.
    ///
    /// - Throws: `HDF5Error`, `CheckpointError`, `PackedLayerError`, `ConfigError`, `ParameterError`.
    public convenience init?(in reader: CheckpointReader) throws {
        guard let json = reader.header.textConfig else { return nil }
        let config = try CLIPTextConfig(json: Data(json.utf8))
        let layers = reader.format == .packed ? try config.skeleton().store.weightedLayers : []
        let parameters = try CheckpointParameters(
            reader, component: CheckpointHeader.textEncoder,
            shapes: Dictionary(uniqueKeysWithValues: layers.map { ($0.path, $0.weight.shape) }))
        try self.init(config: config, parameters: ParameterPath(ParameterStore(provider: parameters)))
        try parameters.checkAllUsed()
    }
}
