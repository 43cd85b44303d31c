// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint of any kind as a folder that diffusers loads: a pipeline, or one component by itself. Quantized
// layers are written as the dense weights that they compute with.

import Checkpoints
import Foundation
import Tensors
import Tokenizers

/// Writes checkpoints as diffusers folders.
public struct DiffusersExport {
    /// The networks to write.
    public let model: ExportedModel
    /// The component to write by itself; nil: all.
    private let component: String?
    /// The text encoders of the file that are not written, because transformers does not have their tokenizers.
    public let omittedTextEncoders: [String]

    private var reader: CheckpointReader { model.reader }

    /// Prepares to export a checkpoint of any kind.
    ///
    /// - Parameters:
    ///   - reader: the open file.
    ///   - component: the component to write by itself, such as `unet`, `vae` or `tokenizer`. Nil writes a pipeline,
    ///     or the denoiser by itself where there is no other component.
    /// - Throws: `ConfigError`; `PipelineError.unknownComponent`; as `CheckpointReader.timeFeatures()`.
    public init(_ reader: CheckpointReader, component: String? = nil) throws {
        let header = reader.header
        let encoders = TextEncoder.names.filter { header.configs[$0] != nil }
        let known = encoders.filter { header.tokenizers[TextEncoder.tokenizerComponent(of: $0)] != nil }
        let networks = [header.component] + [CheckpointHeader.vae].filter { header.configs[$0] != nil } + known
        let texts = header.tokenizers.keys.sorted() + (header.scheduler == nil ? [] : [Self.scheduler])
        if let component, !(networks + texts).contains(component) {
            throw PipelineError.unknownComponent(name: component, known: networks + texts)
        }
        self.component = component ?? (networks.count == 1 ? header.component : nil)
        omittedTextEncoders = component == nil ? encoders.filter { !known.contains($0) } : []
        model = try ExportedModel(
            reader, networks: self.component.map { name in networks.filter { $0 == name } } ?? networks)
    }

    /// Writes the folder.
    ///
    /// - Parameters:
    ///   - folder: the folder to write; it is completed.
    ///   - type: the type of every tensor; nil keeps the type of stored tensors, and writes quantized layers and text
    ///     encoders with such layers as Float32.
    ///   - original: the model that the file was made from, or a copy of it with rounded weights.
    ///   - progress: called with the tensors written and their number; it may throw to interrupt.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `ParameterError`, `DiffusersFolderError`, and what
    ///   `progress` throws; as `ExportedModel.checkValues(of:)`.
    /// - Precondition: `original` is given where the model has `missingParts`.
    public func write(
        to folder: DiffusersFolderWriter, as type: ElementType? = nil, original: CheckpointReader? = nil,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        precondition(
            model.missingParts.isEmpty || original != nil,
            "diffusers export: \(reader.path) lacks \(model.missingParts)")
        if let original { try model.checkValues(of: original) }
        let total = try model.tensorCount()
        var done = 0
        for name in model.networks {
            try write(name, to: folder, as: type, original) {
                done += 1
                try progress(done, total)
            }
        }
        try writeTexts(to: folder)
        try folder.finish()
    }

    private func write(
        _ name: String, to folder: DiffusersFolderWriter, as type: ElementType?, _ original: CheckpointReader?,
        progress: () throws -> Void
    ) throws {
        let tensors = try model.tensors(of: name, original)
        // transformers takes the type of one tensor of the file for all of them.
        let isMixed = TextEncoder.names.contains(name) && tensors.contains { $0.content.isComputed }
        let type = type ?? (isMixed ? .float32 : nil)
        let announced = tensors.map { key, content in
            switch content {
            case .stored(_, let stored):
                (key, StoredTensor(type: type.map(StorageType.init) ?? stored.type ?? .float32, shape: stored.shape))
            case .computed(let weight):
                (key, StoredTensor(type: StorageType(type ?? .float32), shape: weight.shape))
            }
        }
        try folder.addNetwork(
            name, in: self.folder(of: name), config: reader.header.configs[name] ?? "",
            tensors: Dictionary(uniqueKeysWithValues: announced))
        for (key, content) in tensors {
            switch content {
            case .stored(let source, _):
                let bytes = try source.encoded(key, as: type).bytes
                try bytes.withUnsafeBytes { try folder.write(key, bytes: $0) }
            case .computed(let weight):
                try folder.write(key, withoutGradients { weight.tensor() })
            }
            try progress()
        }
    }

    // MARK: Texts

    private static let scheduler = "scheduler"

    /// The folder of a component below the one that is written.
    private func folder(of name: String) -> String { component == nil ? name : "" }

    private func writeTexts(to folder: DiffusersFolderWriter) throws {
        let header = reader.header
        for (name, texts) in header.tokenizers.sorted(by: { $0.key < $1.key }) where includes(name) {
            try folder.addTexts(texts, to: self.folder(of: name), replacing: TokenizerFiles.names)
        }
        if let scheduler = header.scheduler, includes(Self.scheduler) || component == header.component {
            try folder.addTexts(
                ["scheduler_config.json": scheduler], to: component == Self.scheduler ? "" : Self.scheduler)
        }
        guard component == nil else { return }
        let names = model.networks + header.tokenizers.keys + (header.scheduler == nil ? [] : [Self.scheduler])
        try folder.addTexts(["model_index.json": try header.modelIndex(components: Set(names))], to: "")
    }

    private func includes(_ name: String) -> Bool { component == nil || component == name }
}
