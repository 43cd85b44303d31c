// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint of any kind as a folder that diffusers loads: a pipeline, or one component by itself. Quantized
// layers are written as the dense weights that they compute with. A packed file may lack time layers, in place of which
// it has cached time features, and the VAE's encoder; these are taken from the model that the file was made from.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors
import Tokenizers

/// Writes checkpoints as diffusers folders.
public struct DiffusersExport {
    /// A part of a network that a packed file may lack.
    public enum MissingPart: String, Sendable {
        case timeLayers = "time layers"
        case vaeEncoder = "VAE encoder"
    }

    private let reader: CheckpointReader
    private let config: any DenoiserConfig
    private let denoiser: any Denoiser
    /// The component to write by itself; nil: all.
    private let component: String?

    /// The networks to write, the denoiser first.
    public let networks: [String]
    /// The text encoders of the file that are not written, because transformers does not have their tokenizers.
    public let omittedTextEncoders: [String]
    /// What has to be taken from the model that the file was made from.
    public let missingParts: [MissingPart]

    /// Prepares to export a checkpoint of any kind.
    ///
    /// - Parameters:
    ///   - reader: the open file.
    ///   - component: the component to write by itself, such as `unet`, `vae` or `tokenizer`. Nil writes a pipeline,
    ///     or the denoiser by itself where there is no other component.
    /// - Throws: `ConfigError`; `PipelineError.unknownComponent`; as `CheckpointReader.timeFeatures()`.
    public init(_ reader: CheckpointReader, component: String? = nil) throws {
        self.reader = reader
        let header = reader.header
        config = try DenoiserRegistry.config(architecture: header.architecture, json: header.config)
        denoiser = try config.skeleton()
        let encoders = TextEncoder.names.filter { header.configs[$0] != nil }
        let known = encoders.filter { header.tokenizers[TextEncoder.tokenizerComponent(of: $0)] != nil }
        let networks = [header.component] + [CheckpointHeader.vae].filter { header.configs[$0] != nil } + known
        let texts = header.tokenizers.keys.sorted() + (header.scheduler == nil ? [] : [Self.scheduler])
        if let component, !(networks + texts).contains(component) {
            throw PipelineError.unknownComponent(name: component, known: networks + texts)
        }
        self.component = component ?? (networks.count == 1 ? header.component : nil)
        self.networks = self.component.map { name in networks.filter { $0 == name } } ?? networks
        omittedTextEncoders = component == nil ? encoders.filter { !known.contains($0) } : []
        var missing: [MissingPart] = []
        if self.networks.contains(header.component), try reader.timeFeatures() != nil { missing.append(.timeLayers) }
        if self.networks.contains(CheckpointHeader.vae), AutoencoderKL.storedParts(in: reader) == .decoder {
            missing.append(.vaeEncoder)
        }
        missingParts = missing
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
    ///   `progress` throws; as `check(original:)`; `PipelineError.otherTimeLayers` and `.otherDecoder` where `original`
    ///   is another model, `TimeFeatureError` where its time features cannot be computed.
    /// - Precondition: `original` is given where there are `missingParts`.
    public func write(
        to folder: DiffusersFolderWriter, as type: ElementType? = nil, original: CheckpointReader? = nil,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        precondition(
            missingParts.isEmpty || original != nil, "diffusers export: \(reader.path) lacks \(missingParts)")
        if let original { try checkValues(of: original) }
        let total = try networks.reduce(0) { try $0 + store(of: $1).entries.count }
        var done = 0
        for name in networks {
            try write(name, to: folder, as: type, original) {
                done += 1
                try progress(done, total)
            }
        }
        try writeTexts(to: folder)
        try folder.finish()
    }

    // MARK: Networks

    /// A tensor of the folder: copied as it is stored, or computed.
    private enum Content {
        case stored(any TensorSource, StoredTensor)
        case computed(any WeightSource)

        var isComputed: Bool { if case .computed = self { true } else { false } }
    }

    private func write(
        _ name: String, to folder: DiffusersFolderWriter, as type: ElementType?, _ original: CheckpointReader?,
        progress: () throws -> Void
    ) throws {
        let tensors = try tensors(of: name, original)
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

    /// All tensors of a network; those that the file lacks are from `original`.
    private func tensors(
        of name: String, _ original: CheckpointReader?
    ) throws -> [(key: String, content: Content)] {
        let store = try store(of: name)
        let own = try Parameters(reader, name, shapes: store.weightShapes)
        let isComplete = !store.entries.contains { isMissing($0.key, of: name) }
        let other = isComplete ? own : try Parameters(original ?? reader, name)
        let tensors = try store.entries.map { entry in
            let parameters = isMissing(entry.key, of: name) ? other : own
            return (entry.key, try parameters.content(entry.key, shape: entry.source.shape))
        }
        try own.parameters.checkAllUsed()
        return tensors
    }

    /// A component of a file.
    private struct Parameters {
        let parameters: CheckpointParameters
        private let source: (any TensorSource)?

        /// - Throws: `HDF5Error.object` if the file does not have the component.
        init(_ reader: CheckpointReader, _ component: String, shapes: [String: [Int]] = [:]) throws {
            parameters = try CheckpointParameters(reader, component: component, shapes: shapes)
            source = reader.parameters(of: component)
        }

        func content(_ key: String, shape: [Int]) throws -> Content {
            if let weight = try parameters.quantizedWeight(key, shape: shape) { return .computed(weight) }
            guard let source else { preconditionFailure("diffusers export: \(key) of no component") }
            return .stored(source, try source.require(key))
        }
    }

    /// The parameters of a complete network, without values.
    private func store(of name: String) throws -> ParameterStore {
        guard name != reader.header.component else { return denoiser.store }
        let store =
            name == CheckpointHeader.vae
            ? try AutoencoderKLConfig(in: reader)?.skeleton().store
            : try TextEncoder(skeleton: name, in: reader)?.store
        guard let store else { preconditionFailure("diffusers export: \(reader.path) has no \(name)") }
        return store
    }

    private func isMissing(_ key: String, of network: String) -> Bool {
        missingParts.contains { part in
            switch part {
            case .timeLayers: network == config.component && denoiser.isTimeLayer(parameter: key)
            case .vaeEncoder: network == CheckpointHeader.vae && AutoencoderKL.isEncoder(parameter: key)
            }
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
        let names = networks + header.tokenizers.keys + (header.scheduler == nil ? [] : [Self.scheduler])
        try folder.addTexts(["model_index.json": try header.modelIndex(components: Set(names))], to: "")
    }

    private func includes(_ name: String) -> Bool { component == nil || component == name }

    // MARK: The original

    /// Checks that a model has the configs of this one and what this one lacks; reads no weights.
    ///
    /// - Throws: `PipelineError.otherConfig`, `.missingPart`; `ConfigError`.
    public func check(original: CheckpointReader) throws {
        let parts = try DiffusersExport(original).missingParts
        for part in missingParts {
            let isEqual =
                switch part {
                case .timeLayers:
                    try config.isEqual(
                        to: DenoiserRegistry.config(
                            architecture: original.header.architecture, json: original.header.config))
                case .vaeEncoder: try AutoencoderKLConfig(in: original) == AutoencoderKLConfig(in: reader)
                }
            guard isEqual else { throw PipelineError.otherConfig(part: part, packed: reader.path) }
            guard !parts.contains(part) else { throw PipelineError.missingPart(part) }
        }
    }

    /// The largest relative difference of values that are equal but for rounding to float16: one unit of float16's last
    /// place. Rounding cached time features gives about a fifth of it, rounding the weights two fifths.
    private static let tolerance = 0x1p-10

    /// Checks that the time layers of `original` give the features that are cached in the exported file, and that the
    /// decoders of both have the same dense parameters. Models of one architecture differ in nothing else that shows in
    /// a packed file.
    private func checkValues(of original: CheckpointReader) throws {
        try check(original: original)
        for part in missingParts {
            switch part {
            case .timeLayers: try checkTimeLayers(of: original)
            case .vaeEncoder: try checkDecoder(of: original)
            }
        }
    }

    private func checkTimeLayers(of original: CheckpointReader) throws {
        guard let cached = try reader.timeFeatures() else { return }
        let model = try DiffusionPipeline(original, precision: .keep16Bit, denoiserOnly: true).denoiser
        let computed = try model.timeFeatureTable(timesteps: cached.timesteps).features
        for (block, expected) in cached.features.sorted(by: { $0.key < $1.key }) {
            var difference = RelativeDifference()
            difference.add(computed[block], expected)
            // Also refuses NaN.
            guard difference.value <= Self.tolerance else {
                throw PipelineError.otherTimeLayers(
                    file: original.path, packed: reader.path, block: block, difference: difference.value,
                    limit: Self.tolerance)
            }
        }
    }

    private func checkDecoder(of original: CheckpointReader) throws {
        guard let own = reader.parameters(of: CheckpointHeader.vae),
            let other = original.parameters(of: CheckpointHeader.vae)
        else { return }
        var difference = RelativeDifference()
        for key in own.keys where other.stored(key) != nil {
            difference.add(try other.tensor(key), try own.tensor(key))
        }
        guard difference.value <= Self.tolerance else {
            throw PipelineError.otherDecoder(
                file: original.path, packed: reader.path, difference: difference.value, limit: Self.tolerance)
        }
    }
}

/// ‖a - b‖ / ‖b‖ over pairs of tensors; infinite with a pair of different shapes.
private struct RelativeDifference {
    private var (error, norm) = (0.0, 0.0)

    mutating func add(_ a: Tensor?, _ b: Tensor) {
        guard let a, a.shape == b.shape else {
            error = .infinity
            return
        }
        for (x, y) in zip(a.values, b.values) {
            error += (Double(x) - Double(y)) * (Double(x) - Double(y))
            norm += Double(y) * Double(y)
        }
    }

    var value: Double {
        if error == 0 { return 0 }
        return norm > 0 ? (error / norm).squareRoot() : .infinity
    }
}
