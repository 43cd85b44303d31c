// SPDX-License-Identifier: Apache-2.0
// The input of `info`: a checkpoint of any kind, a diffusers folder, or a bare config. A packed file is read
// completely and compared with its checksums; from other files only the bits of quantized layers and the text encoder
// are read.

import BitsFusion
import Foundation

/// The stored size of one quantized layer.
struct StoredLayer {
    let encoding: PackingEncoding
    let codeBytes, scaleBytes: Int

    var bytes: Int { codeBytes + scaleBytes }
}

/// A model of any kind, as far as `info` describes it.
struct ModelDescription {
    let name: String
    /// The kind of input: `bitsfusion-model`, ..., `diffusers`, `config`.
    let format: String
    let config: any DenoiserConfig
    let inventory: ModelInventory
    /// The bits of a student or packed file.
    let recipe: BitRecipe?
    /// The stored sizes of the layers of a packed file; empty for other files.
    let stored: [LayerID: StoredLayer]
    /// The steps that a packed file caches; nil for other files.
    let cachedSteps: Int?
    /// The sizes of text encoders and VAE.
    let otherComponents: [ComponentSize]
    /// The bytes of the file; nil for folders and configs.
    let fileBytes: Int?

    /// Reads the file or folder at the model's path.
    ///
    /// - Parameters:
    ///   - model: the file or folder.
    ///   - keepsVAEEncoder: false describes a model file without the encoder of its VAE.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `PackedLayerError`, `ConfigError`, `RecipeError`,
    ///   `ShippedModelError`; `SafetensorsError` and `JSONError` for a diffusers folder; `CommandError` for a file that
    ///   has no encoder to leave out.
    init(_ model: ModelReference, keepsVAEEncoder: Bool = true) throws {
        let path = try model.path()
        let name = model.name
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        if exists, isFolder.boolValue {
            let source = try PipelineSource(path)
            guard let unet = source.component("unet") else {
                let parts = source.components.map(\.className).joined(separator: ", ")
                throw CommandError(.badData, "\(name): \(parts): not a denoiser; pass the folder of the pipeline")
            }
            let config = try addingFile(name) {
                let config = try DenoiserRegistry.config(json: unet.config)
                try config.checkTensors(of: unet.tensors)
                return config
            }
            try self.init(name: name, format: "diffusers", config: config)
        } else if exists, Self.looksLikeJSON(path) {
            let config = try DenoiserRegistry.config(file: path)
            try self.init(name: name, format: "config", config: config)
        } else {
            try self.init(name: name, checkpoint: CheckpointReader(path), keepsVAEEncoder)
        }
    }

    private init(name: String, format: String, config: any DenoiserConfig) throws {
        self.name = name
        self.format = format
        self.config = config
        inventory = try DiffusionPipeline(denoiser: config.skeleton(), schedulerJSON: nil).inventory()
        recipe = nil
        stored = [:]
        cachedSteps = nil
        otherComponents = []
        fileBytes = nil
    }

    private init(name: String, checkpoint: CheckpointReader, _ keepsVAEEncoder: Bool) throws {
        self.name = name
        format = checkpoint.format.rawValue
        config = try DenoiserRegistry.config(of: checkpoint, named: name)
        let pipeline = try addingFile(name) { [config] in
            try DiffusionPipeline(
                inspecting: checkpoint, config, decoderOnly: !keepsVAEEncoder && checkpoint.format != .packed)
        }
        inventory = try pipeline.inventory()
        var found = BitRecipe(layers: [:])
        var stored: [LayerID: StoredLayer] = [:]
        for component in pipeline.components {
            for path in checkpoint.quantizedLayers(of: component.name) {
                let (layer, grid) = (
                    component.layerID(path), try checkpoint.quantization(of: path, in: component.name).grid
                )
                found.layers[layer] = grid.bits
                if grid != grid.withoutDeadZone { found.deadZones[layer] = grid.deadZone }
            }
            for path in checkpoint.packedLayers(of: component.name) {
                let record = try checkpoint.packedLayer(path, of: component.name)
                let scaleType = try checkpoint.packedScaleType(path, of: component.name)
                found.layers[component.layerID(path)] = record.bits
                stored[component.layerID(path)] = StoredLayer(
                    encoding: record.encoding, codeBytes: record.codes.count,
                    scaleBytes: record.scales.count * scaleType.bytesPerElement)
            }
        }
        self.stored = stored
        recipe = found.layers.isEmpty ? nil : found
        if let recipe { try addingFile(name) { [inventory] in try recipe.validate(against: inventory) } }
        cachedSteps = checkpoint.format == .packed ? try checkpoint.timeFeatures()?.timesteps.count ?? 0 : nil
        otherComponents = pipeline.otherComponentSizes
        fileBytes = Numbers.fileSize(checkpoint.path)
        if checkpoint.format == .model { try pipeline.denoiser.checkTensors(of: checkpoint.parameters) }
    }

    private static func looksLikeJSON(_ path: String) -> Bool {
        guard let file = FileHandle(forReadingAtPath: path) else { return false }
        defer { try? file.close() }
        let head = (try? file.read(upToCount: 64)) ?? Data()
        let blanks: Set<UInt8> = [0x20, 0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF]
        return head.first { !blanks.contains($0) } == UInt8(ascii: "{")
    }
}

/// Size of one model file.
struct ModelSize: Codable {
    /// Bits per weight of all linear and convolution layers: the paper's formula for students and packed models, the
    /// element type's for dense ones.
    let averageBits: Double
    /// The same average with the entropy of each layer's codes in place of log2(levels); nil for dense models.
    let entropyBits: Double?
    /// Bytes of a dense or packed file; for a student, whose file has latent weights, the forecast for its packed file
    /// with entropy coding.
    let packedBytes: Int
    /// Bytes of the file.
    let fileBytes: Int

    /// - Throws: `RecipeError`.
    init(of pipeline: DiffusionPipeline, file: String) throws {
        fileBytes = Numbers.fileSize(file)
        guard let recipe = pipeline.recipe else {
            averageBits = Self.denseBits(pipeline)
            entropyBits = nil
            packedBytes = fileBytes
            return
        }
        let inventory = try pipeline.inventory()
        let table = pipeline.denoiser.timeFeatures
        let storage: TimeFeatureStorage =
            table.map { .cached(steps: $0.timesteps.count) } ?? (inventory.cachesTimeFeatures ? .paper : .layersKept)
        let accounting = try SizeAccounting(recipe: recipe, inventory: inventory, timeFeatures: storage)
        let weights = pipeline.denoiser.quantizedLayers.compactMap(\.quantizedWeight)
        let entropies = weights.map(\.codeEntropy)
        func average(_ bitsOfWeight: (Int) -> Double) -> Double {
            let saved = weights.indices.reduce(0.0) { sum, index in
                sum + (weights[index].grid.bits.effectiveBits - bitsOfWeight(index)) * Double(weights[index].count)
            }
            return accounting.averageBits - saved / Double(accounting.weightCount)
        }
        averageBits = average { log2(Double(weights[$0].grid.levels)) }
        entropyBits = average { entropies[$0] }
        guard table == nil, !pipeline.isPacked else {
            packedBytes = fileBytes
            return
        }
        let radix = StorageModel.packed(.radix)
        packedBytes =
            try radix.storedBytes(recipe: recipe, inventory: inventory, timeFeatures: storage)
            + zip(weights, entropies).reduce(0) { sum, layer in
                sum + StorageModel.entropyCodedBytes(count: layer.0.count, entropy: layer.1)
                    - radix.codeBytes(layer.0.count, layer.0.grid.bits.levels)
            }
    }

    /// The bits of the element type, averaged over weights.
    private static func denseBits(_ pipeline: DiffusionPipeline) -> Double {
        var (bits, count) = (0, 0)
        for layer in pipeline.denoiser.store.weightedLayers {
            let size = layer.weight.shape.reduce(1, *)
            count += size
            bits += size * ((layer.weight as? Weight16)?.type.bytesPerElement ?? 4) * 8
        }
        return count == 0 ? 0 : Double(bits) / Double(count)
    }
}

extension QuantizedWeight {
    /// The number of weights.
    fileprivate var count: Int { shape.reduce(1, *) }
}
