// SPDX-License-Identifier: Apache-2.0
// Converts a pipeline folder, single-file checkpoint or CLIP folder to a model file: configs and names are checked
// against the architectures first, then the tensors are copied one by one.

import Checkpoints
import Files
import Foundation
import Layers
import Networks
import Recipes
import Tensors
import Tokenizers

extension ParameterStore {
    /// Checks that `source` has exactly the tensors of this store, by name and shape; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    func checkTensors(of source: any TensorSource) throws {
        for entry in entries {
            let found = try source.require(entry.key).shape
            guard found == entry.source.shape else {
                throw CheckpointError.shapeMismatch(
                    file: source.path, key: entry.key, expected: entry.source.shape, found: found)
            }
        }
        let known = Set(entries.map(\.key))
        let unused = source.keys.filter { !known.contains($0) }
        if !unused.isEmpty { throw CheckpointError.unusedKeys(file: source.path, keys: unused) }
    }
}

extension Denoiser {
    /// Checks that `source` has exactly the tensors of this model, by name and shape; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    public func checkTensors(of source: any TensorSource) throws { try store.checkTensors(of: source) }
}

extension DenoiserConfig {
    /// Checks that `source` holds exactly the tensors of this architecture; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    public func checkTensors(of source: any TensorSource) throws {
        try skeleton().checkTensors(of: source)
    }
}

extension PipelineSource {
    /// Writes all components as a dense model, or a CLIP model as an image-text encoder.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - type: the type of every tensor; nil keeps each tensor's own.
    ///   - progress: called with the tensors copied and their number; it may throw to interrupt.
    /// - Throws: `PipelineError.missingComponent` without a denoiser, `.crossAttentionDim`; `ConfigError` for a config
    ///   that is not supported; `TokenizerError`; `CheckpointError` for tensors that are missing, unknown, of another
    ///   shape or not finite; `FileError`, `HDF5Error`; and what `progress` throws.
    public func writeModel(
        to path: String, manifest: RunManifest, as type: ElementType? = nil,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let writer = try CheckpointWriter(path, header: try checkedHeader(manifest))
        let total = components.reduce(0) { $0 + $1.tensors.keys.count }
        var done = 0
        for component in components {
            for key in component.tensors.keys {
                let stored = try component.tensors.encoded(key, as: type)
                try stored.bytes.withUnsafeBytes {
                    try writer.write(
                        key, in: .component(component.name), type: stored.type, shape: stored.shape, bytes: $0)
                }
                done += 1
                try progress(done, total)
            }
        }
        try writer.finish()
    }

    /// Checks configs, names, shapes and tokenizers of all components and the scheduler config, and describes them.
    private func checkedHeader(_ manifest: RunManifest) throws -> CheckpointHeader {
        if let clip = component(CheckpointHeader.clip) { return try clipHeader(clip, manifest: manifest.json()) }
        _ = try checkScheduler()
        let others = TextEncoder.names + [CheckpointHeader.vae]
        guard let main = components.first(where: { !others.contains($0.name) }) else {
            throw PipelineError.missingComponent(name: "unet", neededBy: "a model file")
        }
        let config = try Self.reading(main) { try DenoiserRegistry.config(json: $0) }
        guard main.name == config.component else {
            throw PipelineError.missingComponent(name: config.component, neededBy: config.architecture)
        }
        let denoiser = try config.skeleton()
        try denoiser.checkTensors(of: main.tensors)
        var encoders: [TextEncoder] = []
        var tokenizerTexts: [String: [String: String]] = [:]
        for name in TextEncoder.names {
            guard let component = component(name) else { continue }
            let tokenizer = TextEncoder.tokenizerComponent(of: name)
            let files = try tokenizerFiles(tokenizer)
            let encoder = try Self.reading(component) {
                try TextEncoder(skeleton: name, json: $0, tokenizer: files)
            }
            try encoder.store.checkTensors(of: component.tensors)
            encoders.append(encoder)
            tokenizerTexts[tokenizer] = files.texts
        }
        let vae = try component(CheckpointHeader.vae).map { component in
            let vae = try Self.reading(component) { try AutoencoderKLConfig(json: Data($0.utf8)).skeleton() }
            try vae.store.checkTensors(of: component.tensors)
            return vae
        }
        // Checks that the parts belong together.
        _ = try DiffusionPipeline(denoiser: denoiser, textEncoders: encoders, vae: vae, schedulerJSON: scheduler)
        return CheckpointHeader(
            format: .model, architecture: config.architecture, component: config.component,
            configs: Dictionary(uniqueKeysWithValues: components.map { ($0.name, $0.config) }),
            manifest: try manifest.json(), scheduler: scheduler, modelIndex: modelIndex,
            tokenizer: encoders.isEmpty ? nil : CLIPTokenizer.name, tokenizers: tokenizerTexts)
    }

    /// The result of `read` for the config of `component`, whose errors name the component's file.
    static func reading<Value>(_ component: SourceComponent, _ read: (String) throws -> Value) throws -> Value {
        do {
            return try read(component.config)
        } catch let error as ConfigError {
            throw ConfigError.inDocument(component.name + "/config.json", error)
        }
    }

    /// The files of a tokenizer. Those of a single file have CLIP's vocabulary.
    private func tokenizerFiles(_ component: String) throws -> TokenizerFiles {
        let texts = tokenizers[component] ?? [:]
        guard texts["vocab.json"] == nil, texts["tokenizer.json"] == nil else { return TokenizerFiles(texts) }
        guard layout == .singleFile else {
            throw PipelineError.missingComponent(name: component + "/vocab.json", neededBy: "the text encoder")
        }
        return TokenizerFiles(try TokenizerFiles.clip().texts.merging(texts) { $1 })
    }
}
