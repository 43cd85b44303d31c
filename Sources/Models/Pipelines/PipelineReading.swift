// SPDX-License-Identifier: Apache-2.0
// Opening a checkpoint of any kind as a model that makes images.

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
    /// - Throws: `CheckpointError`, `ConfigError`, `ParameterError`, `TimeFeatureError`.
    public convenience init(contentsOf path: String, precision: WeightPrecision = .float32) throws {
        try self.init(CheckpointReader(path), precision: precision)
    }

    /// Builds the model from an open checkpoint; every tensor of the file must be used.
    ///
    /// - Throws: as `init(contentsOf:precision:)`.
    public convenience init(_ reader: CheckpointReader, precision: WeightPrecision = .float32) throws {
        try reader.require(architecture: Self.unetArchitecture)
        let config = try UNet2DConditionConfig(json: Data(reader.header.config.utf8))
        let layers = reader.format == .packed ? try ModelInventory(unet: config).layers : []
        let parameters = try CheckpointParameters(
            reader, precision: precision,
            shapes: Dictionary(uniqueKeysWithValues: layers.map { ($0.path.rawValue, $0.shape) }))
        let table = try reader.timeFeatures().map {
            TimeFeatureTable(timesteps: $0.timesteps, features: $0.features)
        }
        let unet = try UNet2DConditionModel(
            config: config, parameters: ParameterPath(ParameterStore(provider: parameters)), timeFeatures: table)
        try parameters.checkAllUsed()
        let encoder = try CLIPTextModel(in: reader)
        if let encoder { try Self.check(encoder, for: config) }
        try self.init(
            unet: unet, textEncoder: encoder,
            tokenizerName: reader.header.tokenizer, schedulerJSON: reader.header.scheduler)
    }

    /// - Throws: `PipelineError` for a text encoder that is not this UNet's.
    private static func check(_ encoder: CLIPTextModel, for config: UNet2DConditionConfig) throws(PipelineError) {
        let widths = config.encoderHidDim.map { [$0] } ?? config.crossAttentionDim
        if config.usesCrossAttention, let other = widths.first(where: { $0 != encoder.config.hiddenSize }) {
            throw .crossAttentionDim(expected: other, found: encoder.config.hiddenSize)
        }
    }

    /// What packed layers round their inputs to; `.int8` where nothing is packed says nothing.
    public var activations: ActivationType {
        get { packedWeights.first?.activations ?? .int8 }
        set { for weight in packedWeights { weight.activations = newValue } }
    }

    /// Whether layers hold packed codes.
    public var isPacked: Bool { !packedWeights.isEmpty }

    private var packedWeights: [PackedWeight] {
        unet.store.weightedLayers.compactMap { $0.weight as? PackedWeight }
    }

    /// The widths of the quantized layers of a student or packed model; nil for a dense one.
    public var recipe: BitRecipe? {
        var layers: [LayerID: BitWidth] = [:]
        for layer in unet.store.weightedLayers {
            if let weight = layer.quantizedWeight { layers[LayerID(layer.path)] = weight.grid.width }
        }
        return layers.isEmpty ? nil : BitRecipe(layers: layers)
    }
}

extension CLIPTextModel {
    /// The text encoder of a checkpoint; nil where it has none. Every tensor of it must be used.
    ///
    /// - Throws: `CheckpointError`, `ConfigError`, `ParameterError`.
    public convenience init?(in reader: CheckpointReader) throws {
        guard let json = reader.header.textConfig, let source = reader.textEncoder else { return nil }
        let parameters = CheckpointParameters(source, precision: .float32)
        try self.init(
            config: CLIPTextConfig(json: Data(json.utf8)),
            parameters: ParameterPath(ParameterStore(provider: parameters)))
        try parameters.checkAllUsed()
    }
}

extension WeightedLayer {
    /// The layer's weight where it is quantized, packed or in training; nil where it is dense.
    public var quantizedWeight: (any QuantizedWeight)? { weight as? any QuantizedWeight }

    /// Whether the layer's weight is one of codes and scales, packed or in training.
    public var isQuantized: Bool { weight is any QuantizedWeight }
}
