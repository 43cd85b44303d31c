// SPDX-License-Identifier: Apache-2.0
// A CLIP-proxy as a checkpoint file: format `bitsfusion-clip`, parameters below /clip, the architecture as JSON.

import BitsFusion
import Foundation

extension ClipProxy {
    /// The class of the model: CLIP's structure with text and image towers of its own.
    static let architecture = "ShapesClipProxy"

    /// Reads a proxy from a checkpoint; 16-bit values are converted to Float32.
    ///
    /// - Throws: `FileError`, `HDF5Error` for a file that is missing, damaged or of another kind; `CheckpointError` for
    ///   missing or unused parameters; `ConfigError` for an architecture that cannot be built.
    public convenience init(file path: String) throws {
        try self.init(CheckpointReader(path, formats: [.clip]))
    }

    /// Reads a proxy from an open checkpoint.
    ///
    /// - Precondition: the checkpoint's format is `.clip`.
    /// - Throws: as of `init(file:)`.
    public convenience init(_ checkpoint: CheckpointReader) throws {
        try checkpoint.require(architecture: Self.architecture)
        let config = try Self.config(in: checkpoint)
        let provider = CheckpointParameters(checkpoint.parameters)
        try self.init(config: config, parameters: ParameterPath(ParameterStore(provider: provider)))
        try provider.checkAllUsed()
    }

    /// Writes the proxy as a checkpoint; the file appears when it is complete.
    ///
    /// - Parameters:
    ///   - path: the file; a file of that name is replaced when the new one is complete.
    ///   - manifest: the run that made the proxy.
    ///   - type: the element type of all parameters.
    ///   - extra: writes what else belongs into the file, such as the state of an unfinished training.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, such as `.exceedsType` if a parameter is too large for
    ///   `type`; what `extra` throws.
    public func write(
        to path: String, manifest: RunManifest, as type: ElementType = .float32,
        extra: (CheckpointWriter) throws -> Void = { _ in }
    ) throws {
        let header = CheckpointHeader(
            format: .clip, architecture: Self.architecture, component: "clip", config: try Self.json(config),
            manifest: try Self.json(manifest))
        let writer = try CheckpointWriter(path, header: header)
        for entry in store.entries {
            try writer.write(
                entry.key, withoutGradients { entry.source.tensor() }, as: type)
        }
        try extra(writer)
        try writer.finish()
    }

    private static func config(in checkpoint: CheckpointReader) throws -> ClipProxyConfig {
        do {
            return try JSONDecoder().decode(
                ClipProxyConfig.self, from: Data(checkpoint.header.config.utf8))
        } catch let error as DecodingError {
            throw HDF5Error.object(
                file: checkpoint.path, object: "/header/clip",
                fault: .value(expected: "a CLIP-proxy's config", found: Self.fault(error)))
        }
    }

    /// The key that a decoding error is about.
    private static func fault(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _): "no \(key.stringValue)"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            "another value at \(context.codingPath.map(\.stringValue).joined(separator: "."))"
        @unknown default: "something else"
        }
    }

    private static func json(_ value: some Encodable) throws -> String {
        return String(decoding: try JSONEncoder.compact.encode(value), as: UTF8.self)
    }
}
