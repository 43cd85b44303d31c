// SPDX-License-Identifier: Apache-2.0
// A checkpoint of any kind as it is exported: all tensors of its networks under diffusers' keys. A packed file may lack
// time layers, in place of which it has cached time features, and the VAE's encoder; these are taken from the model
// that the file was made from.

import Checkpoints
import Foundation
import Layers
import Networks
import Tensors

/// A checkpoint whose networks are written to other formats.
public struct ExportedModel {
    /// A part of a network that a packed file may lack.
    public enum MissingPart: String, Sendable {
        case timeLayers = "time layers"
        case vaeEncoder = "VAE encoder"
    }

    /// A tensor to write: copied as it is stored, or that of a quantized layer.
    enum Content {
        case stored(any TensorSource, StoredTensor)
        case computed(any WeightSource)

        var isComputed: Bool { if case .computed = self { true } else { false } }
    }

    let reader: CheckpointReader
    let config: any DenoiserConfig
    private let denoiser: any Denoiser

    /// The networks to write, the denoiser first.
    public let networks: [String]
    /// What has to be taken from the model that the file was made from.
    public let missingParts: [MissingPart]

    /// Prepares to export some networks of a checkpoint.
    ///
    /// - Parameters:
    ///   - reader: the open file.
    ///   - networks: names of networks of the file; nil: the denoiser.
    /// - Throws: `ConfigError`; as `CheckpointReader.timeFeatures()`.
    public init(_ reader: CheckpointReader, networks: [String]? = nil) throws {
        self.reader = reader
        let header = reader.header
        config = try DenoiserRegistry.config(architecture: header.architecture, json: header.config)
        denoiser = try config.skeleton()
        self.networks = networks ?? [header.component]
        var missing: [MissingPart] = []
        if self.networks.contains(header.component), try reader.timeFeatures() != nil { missing.append(.timeLayers) }
        if self.networks.contains(CheckpointHeader.vae), AutoencoderKL.storedParts(in: reader) == .decoder {
            missing.append(.vaeEncoder)
        }
        missingParts = missing
    }

    /// The number of tensors of all networks.
    func tensorCount() throws -> Int { try networks.reduce(0) { try $0 + store(of: $1).entries.count } }

    /// All tensors of a network; those that the file lacks are from `original`.
    func tensors(
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
            guard let source else { preconditionFailure("export: \(key) of no component") }
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
        guard let store else { preconditionFailure("export: \(reader.path) has no \(name)") }
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

    // MARK: The original

    /// Checks that a model has the configs of this one and what this one lacks; reads no weights.
    ///
    /// - Throws: `PipelineError.otherConfig`, `.missingPart`; `ConfigError`.
    public func check(original: CheckpointReader) throws {
        let common = networks.filter { original.header.configs[$0] != nil }
        let parts = try ExportedModel(original, networks: common).missingParts
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
    ///
    /// - Throws: as `check(original:)`; `PipelineError.otherTimeLayers` and `.otherDecoder` where `original` is another
    ///   model, `TimeFeatureError` where its time features cannot be computed.
    func checkValues(of original: CheckpointReader) throws {
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
