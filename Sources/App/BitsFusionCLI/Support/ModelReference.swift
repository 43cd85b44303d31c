// SPDX-License-Identifier: Apache-2.0
// Models on the command line: a file, or the word `shapes` for the shipped teacher.

import ArgumentParser
import BitsFusion
import Foundation

/// A model argument.
struct ModelReference: ExpressibleByArgument, Hashable {
    /// The argument.
    let name: String

    init(argument: String) { name = argument }

    init(_ name: String) { self.name = name }

    /// The help of every model argument.
    static let help: ArgumentHelp = "Model, student or packed file, or `shapes` for the shipped teacher."

    /// The path of the file.
    ///
    /// - Throws: `ShippedModelError` if the shipped model is not installed.
    func path() throws -> String {
        try BundledWorld.model(name) ?? name
    }

    /// Opens the model.
    ///
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `ShippedModelError`; `CommandError` for faulty configs
    ///   and parameters.
    func open(precision: WeightPrecision = .float32) throws -> DiffusionPipeline {
        try addingFile(name) { try DiffusionPipeline(contentsOf: path(), precision: precision) }
    }

    /// Opens the model for training: its text encoders and autoencoder, which are not trained, stay in 16 bits where
    /// they are stored in 16 bits.
    ///
    /// - Parameters:
    ///   - precision: how the weights of the denoiser are held.
    ///   - denoiserOnly: leaves text encoders and autoencoder out.
    /// - Returns: the model.
    /// - Throws: as `open(precision:)`.
    func openForTraining(precision: WeightPrecision = .float32, denoiserOnly: Bool = false) throws -> DiffusionPipeline
    {
        try addingFile(name) {
            try DiffusionPipeline(
                CheckpointReader(path()), precision: precision, otherPrecision: .keep16Bit, denoiserOnly: denoiserOnly)
        }
    }

    /// The argument and the SHA-256 of the file, as documents refer to their model.
    ///
    /// - Throws: `FileError`, `ShippedModelError`.
    func fileReference() throws -> FileReference {
        FileReference(path: name, sha256: try FileDigest.sha256(ofFile: try path()))
    }
}

extension DiffusionPipeline {
    /// Whether defaults reduce memory and time: above 50 M parameters images are sampled one at a time, and analyses
    /// compare noise predictions.
    var isLarge: Bool { denoiser.store.elementCount > 50_000_000 }
}

extension DenoiserRegistry {
    /// Reads a `config.json`.
    ///
    /// - Throws: `FileError`; `CommandError` naming the file and the key.
    static func config(file path: String) throws -> any DenoiserConfig {
        let data = try AtomicFile.read(path)
        guard mayBeConfig(data) else {
            throw CommandError(
                .badData,
                "\(path): expected the config.json of a denoiser, with _class_name or block_out_channels, found "
                    + "another JSON document; give a model or its config")
        }
        return try addingFile(path) { try config(json: data) }
    }

    /// The denoiser's config in a checkpoint with the name `name` on the command line.
    ///
    /// - Throws: `CommandError` naming the file and the key.
    static func config(of checkpoint: CheckpointReader, named name: String) throws -> any DenoiserConfig {
        try addingFile(name) {
            try config(architecture: checkpoint.header.architecture, json: checkpoint.header.config)
        }
    }
}
