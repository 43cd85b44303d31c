// SPDX-License-Identifier: Apache-2.0
// A model named on the command line: a file, or the word `shapes` for the shipped teacher.

import ArgumentParser
import BitsFusion

/// A model argument.
struct ModelReference: ExpressibleByArgument, Hashable {
    /// As it was given.
    let name: String

    init(argument: String) { name = argument }

    init(_ name: String) { self.name = name }

    /// Text for the help of every model argument.
    static let help: ArgumentHelp = "A model, student or packed file, or `shapes` for the shipped teacher."

    /// Where the file lies.
    ///
    /// - Throws: `ShippedModelError` where the shipped model is not installed.
    func path() throws -> String {
        try BundledWorld.model(name) ?? name
    }

    /// Opens the model to make images with.
    ///
    /// - Throws: `CheckpointError`, `ShippedModelError`; `CommandError` for what is wrong with config and parameters.
    func open(precision: WeightPrecision = .float32) throws -> DiffusionPipeline {
        try naming(name) { try DiffusionPipeline(contentsOf: path(), precision: precision) }
    }

    /// The name as given, and the SHA-256 of the file: how documents name the model that they belong to.
    ///
    /// - Throws: `CheckpointError`, `ShippedModelError`.
    func fileReference() throws -> FileReference {
        FileReference(path: name, sha256: try FileDigest.sha256(ofFile: try path()))
    }
}
