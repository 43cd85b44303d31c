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

    /// The pipeline of an open checkpoint for describing it: the denoiser has no values of large weights.
    ///
    /// - Parameters:
    ///   - reader: the file.
    ///   - config: the config of its denoiser.
    ///   - decoderOnly: leaves the encoder of the autoencoder out.
    /// - Throws: as `init(contentsOf:precision:)`.
    public convenience init(
        inspecting reader: CheckpointReader, _ config: any DenoiserConfig, decoderOnly: Bool = false
    ) throws {
        try self.init(
            denoiser: config.skeleton(),
            textEncoders: TextEncoder.names.compactMap { try TextEncoder($0, in: reader, precision: .keep16Bit) },
            vae: AutoencoderKL(in: reader, decoderOnly: decoderOnly, precision: .keep16Bit),
            schedulerJSON: reader.header.scheduler,
            modelIndexJSON: reader.header.modelIndex)
    }

    /// The pipeline of an open checkpoint with shapes and no values of large weights.
    convenience init(skeletonOf reader: CheckpointReader, _ config: any DenoiserConfig) throws {
        try self.init(
            denoiser: config.skeleton(),
            textEncoders: TextEncoder.names.compactMap { try TextEncoder(skeleton: $0, in: reader) },
            vae: AutoencoderKL(skeletonIn: reader), schedulerJSON: reader.header.scheduler,
            modelIndexJSON: reader.header.modelIndex)
    }

    /// Builds the model from an open checkpoint; every tensor of the components must be used.
    ///
    /// - Parameters:
    ///   - reader: the file.
    ///   - precision: how dense weights are held.
    ///   - otherPrecision: how those of text encoders and autoencoder are held; nil: as those of the denoiser.
    ///   - denoiserOnly: leaves text encoders and autoencoder out, which sampling opens when it needs them.
    /// - Throws: as `init(contentsOf:precision:)`.
    public convenience init(
        _ reader: CheckpointReader, precision: WeightPrecision = .float32, otherPrecision: WeightPrecision? = nil,
        denoiserOnly: Bool = false
    ) throws {
        let otherPrecision = otherPrecision ?? precision
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
        try self.init(
            denoiser: denoiser,
            textEncoders: denoiserOnly
                ? [] : TextEncoder.names.compactMap { try TextEncoder($0, in: reader, precision: otherPrecision) },
            vae: denoiserOnly ? nil : AutoencoderKL(in: reader, precision: otherPrecision),
            schedulerJSON: reader.header.scheduler, modelIndexJSON: reader.header.modelIndex)
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

    /// The bits and dead zones of the quantized layers of a student or packed model; nil for a dense one. Packed models
    /// have no dead zones: their codes are final.
    public var recipe: BitRecipe? {
        var recipe = BitRecipe(layers: [:])
        for component in components {
            for layer in component.store.weightedLayers {
                guard let grid = layer.quantizedWeight?.grid else { continue }
                let path = component.layerID(layer.path)
                recipe.layers[path] = grid.bits
                if grid != grid.withoutDeadZone { recipe.deadZones[path] = grid.deadZone }
            }
        }
        return recipe.layers.isEmpty ? nil : recipe
    }
}

extension AutoencoderKL {
    /// The autoencoder of a checkpoint; nil where it has none. A file without an encoder opens without one.
    ///
    /// - Parameters:
    ///   - reader: the file.
    ///   - decoderOnly: leaves out an encoder that is stored.
    ///   - precision: how dense weights are held.
    /// - Throws: `CheckpointError`, `ConfigError`, `ParameterError`.
    public convenience init?(
        in reader: CheckpointReader, decoderOnly: Bool = false, precision: WeightPrecision = .float32
    ) throws {
        guard let config = try AutoencoderKLConfig(in: reader) else { return nil }
        let stored = Self.storedParts(in: reader), parts = decoderOnly ? .decoder : stored
        let shapes = try reader.format == .packed ? config.skeleton(parts: parts).store.weightShapes : [:]
        let parameters = try CheckpointParameters(
            reader, component: CheckpointHeader.vae, precision: precision, shapes: shapes)
        try self.init(config: config, parameters: ParameterPath(ParameterStore(provider: parameters)), parts: parts)
        if parts == stored { try parameters.checkAllUsed() }
    }

    /// The autoencoder of a checkpoint without values; nil where it has none.
    convenience init?(skeletonIn reader: CheckpointReader) throws {
        guard let config = try AutoencoderKLConfig(in: reader) else { return nil }
        try self.init(
            config: config, parameters: ParameterPath(ParameterStore(provider: ShapeOnlyProvider())),
            parts: Self.storedParts(in: reader))
    }

    /// Whether the parameter or layer `path` belongs to the encoder.
    static func isEncoder(parameter path: String) -> Bool {
        path.hasPrefix("encoder.") || path == "quant_conv" || path.hasPrefix("quant_conv.")
    }

    /// The halves of the autoencoder that a checkpoint has.
    static func storedParts(in reader: CheckpointReader) -> Parts {
        let keys =
            (reader.parameters(of: CheckpointHeader.vae)?.keys ?? []) + reader.packedLayers(of: CheckpointHeader.vae)
        return keys.contains(where: isEncoder(parameter:)) ? .both : .decoder
    }
}

extension AutoencoderKLConfig {
    /// The config of a checkpoint's autoencoder; nil where it has none.
    ///
    /// - Throws: `ConfigError`.
    public init?(in reader: CheckpointReader) throws {
        guard let json = reader.header.configs[CheckpointHeader.vae] else { return nil }
        try self.init(json: Data(json.utf8))
    }
}
