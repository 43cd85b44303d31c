// SPDX-License-Identifier: Apache-2.0
// What `info` looks at: a checkpoint of any kind, a diffusers folder, or a bare config. Of a packed file all of it is read
// and held against its checksums; of other files the widths of quantized layers and the text encoder.

import BitsFusion
import Foundation

/// What one quantized layer takes.
struct StoredLayer {
    let encoding: PackingEncoding
    let codeBytes, scaleBytes: Int

    var bytes: Int { codeBytes + scaleBytes }
}

struct ModelSubject {
    let name: String
    /// What the file is: `bitsfusion-model`, ..., `diffusers`, `config`.
    let format: String
    let config: any DenoiserConfig
    let inventory: ModelInventory
    /// The widths of a student or packed file.
    let recipe: BitRecipe?
    /// What the layers of a packed file take; empty for other files.
    let stored: [LayerID: StoredLayer]
    /// The steps that a packed file caches; nil for files that leave it open.
    let cachedSteps: Int?
    /// Parameters of the text encoder; 0 where there is none.
    let textEncoderParameters: Int
    /// The bytes of the file; nil for folders and configs.
    let fileBytes: Int?

    /// Looks at what lies at the model's path.
    ///
    /// - Throws: `CheckpointError`, `ConfigError`, `RecipeError`, `ShippedModelError`.
    init(_ model: ModelReference) throws {
        let path = try model.path()
        let name = model.name
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        if exists, isFolder.boolValue {
            let folder = try DiffusersFolder(path)
            let config = try DenoiserRegistry.config(file: folder.path + "/config.json")
            try config.checkTensors(of: folder.weights)
            try self.init(name: name, format: "diffusers", config: config)
        } else if exists, Self.looksLikeJSON(path) {
            let config = try DenoiserRegistry.config(file: path)
            try self.init(name: name, format: "config", config: config)
        } else {
            try self.init(name: name, checkpoint: CheckpointReader(path))
        }
    }

    private init(name: String, format: String, config: any DenoiserConfig) throws {
        self.name = name
        self.format = format
        self.config = config
        inventory = try ModelInventory(of: config, textEncoder: nil, tokenizerName: nil, schedulerJSON: nil)
        recipe = nil
        stored = [:]
        cachedSteps = nil
        textEncoderParameters = 0
        fileBytes = nil
    }

    private init(name: String, checkpoint: CheckpointReader) throws {
        self.name = name
        format = checkpoint.format.rawValue
        config = try DenoiserRegistry.config(of: checkpoint, named: name)
        let encoder = try naming(name) { try CLIPTextModel(in: checkpoint) }
        inventory = try ModelInventory(
            of: config, textEncoder: encoder,
            tokenizerName: checkpoint.header.tokenizer, schedulerJSON: checkpoint.header.scheduler)
        var layers: [LayerID: BitWidth] = [:]
        for path in checkpoint.quantizedLayers {
            layers[LayerID(path)] = try checkpoint.quantization(of: path).width
        }
        var stored: [LayerID: StoredLayer] = [:]
        for path in checkpoint.packedLayers {
            let record = try checkpoint.packedLayer(path)
            layers[LayerID(path)] = record.width
            stored[LayerID(path)] = StoredLayer(
                encoding: record.encoding, codeBytes: record.codes.count,
                scaleBytes: record.scales.count * (try checkpoint.packedScaleType(path)).bytesPerElement)
        }
        self.stored = stored
        recipe = layers.isEmpty ? nil : BitRecipe(layers: layers)
        if let recipe { try naming(name) { [inventory] in try recipe.validate(against: inventory) } }
        cachedSteps = checkpoint.format == .packed ? try checkpoint.timeFeatures()?.timesteps.count ?? 0 : nil
        textEncoderParameters = encoder?.store.elementCount ?? 0
        fileBytes = Numbers.fileSize(checkpoint.path)
        if checkpoint.format == .model { try config.checkTensors(of: checkpoint.parameters) }
    }

    private static func looksLikeJSON(_ path: String) -> Bool {
        guard let file = FileHandle(forReadingAtPath: path) else { return false }
        defer { try? file.close() }
        let head = (try? file.read(upToCount: 64)) ?? Data()
        let blanks: Set<UInt8> = [0x20, 0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF]
        return head.first { !blanks.contains($0) } == UInt8(ascii: "{")
    }
}
