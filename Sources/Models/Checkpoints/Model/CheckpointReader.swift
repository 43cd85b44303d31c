// SPDX-License-Identifier: Apache-2.0
// Opens a checkpoint of any kind and checks all of its structure; elements are read when they are asked for.

import Files
import Foundation
import Tensors

/// An open checkpoint: a dense model, a student, a packed model, or an image-text encoder. Safe to read from several
/// threads.
public final class CheckpointReader: Sendable {
    /// Where the file lies.
    public let path: String
    /// What the file says about itself.
    public let header: CheckpointHeader
    private let shared: SharedHDF5File
    private let sections: [CheckpointSection: HDF5Tensors]

    /// Opens the file at `path` and lists what it holds.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - formats: the kinds of checkpoint that will do; those that hold a UNet unless told otherwise.
    /// - Throws: `CheckpointError`: `.missingFile`; `.wrongKind` where it is no HDF5 file; `.attribute` where it is no
    ///   checkpoint, of another kind or of a later version; `.json` where an attribute is not the JSON that it must be;
    ///   `.object` and `.hdf5` where it is damaged. Of a packed file, all tensors but the packed layers are checked here.
    public init(
        _ path: String, formats: [CheckpointFormat] = CheckpointFormat.models
    ) throws {
        self.path = path
        let shared = SharedHDF5File(try HDF5File.open(path))
        header = try Self.header(shared.file, formats)
        var sections: [CheckpointSection: HDF5Tensors] = [:]
        for section in CheckpointSection.allCases where shared.file.contains(section.group) {
            sections[section] = try HDF5Tensors(shared, group: section.group, naming: section.naming)
        }
        let wanted: [CheckpointSection] =
            [header.format.section] + (header.format == .student ? [.quantization] : [])
            + (header.format == .packed ? [.packed] : []) + (header.textConfig == nil ? [] : [.textEncoder])
        for section in wanted where sections[section] == nil {
            throw CheckpointError.object(file: path, object: section.group, fault: .missing)
        }
        self.shared = shared
        self.sections = sections
        if header.format == .packed { try checkSections() }
    }

    /// Which kind of checkpoint this is.
    public var format: CheckpointFormat { header.format }

    /// The UNet's tensors as stored: all parameters of a model, latent weights of a student, and of a packed model
    /// what is not packed.
    ///
    /// - Precondition: the format is one of `CheckpointFormat.models`.
    public var unet: any TensorSource { tensors(.unet) }

    /// The tensors of an image-text encoder.
    ///
    /// - Precondition: the format is `.clip`.
    public var clip: any TensorSource { tensors(.clip) }

    /// The text encoder's tensors, or nil where the model has none.
    public var textEncoder: (any TensorSource)? { section(.textEncoder) }

    /// What a resumed run needs, or nil where the file was not written by an unfinished run: the trainer's JSON and its
    /// named tensors.
    ///
    /// - Throws: `CheckpointError.attribute` where the JSON is not there.
    public func trainingState() throws -> (json: String, tensors: any TensorSource)? {
        guard let tensors = section(.training) else { return nil }
        return (try text(CheckpointName.state, of: CheckpointSection.training.group), tensors)
    }

    // MARK: For the other files of this folder

    func section(_ section: CheckpointSection) -> HDF5Tensors? { sections[section] }

    private func tensors(_ section: CheckpointSection) -> HDF5Tensors {
        guard let found = sections[section] else {
            preconditionFailure("\(path): a \(format.rawValue) file has no \(section.group)")
        }
        return found
    }

    /// A text attribute that must be there.
    func text(_ name: String, of object: String) throws -> String {
        try Self.required(name, object, path) { () throws in
            try shared.file.text(name, of: object)
        }
    }

    /// A list of integers that must be there.
    func integers(_ name: String, of object: String) throws -> [Int] {
        try Self.required(name, object, path) { () throws in
            try shared.file.integers(name, of: object)
        }
    }

    /// One integer that must be there.
    func integer(_ name: String, of object: String) throws -> Int {
        try Self.single(try integers(name, of: object), name, object, path)
    }

    private static func required<Value>(
        _ name: String, _ object: String, _ path: String, _ read: () throws -> Value?
    ) throws -> Value {
        guard let value = try read() else {
            throw CheckpointError.attribute(file: path, object: object, name: name, fault: .missing)
        }
        return value
    }

    private static func single(
        _ values: [Int], _ name: String, _ object: String, _ path: String
    ) throws -> Int {
        guard values.count == 1 else {
            throw CheckpointError.attribute(
                file: path, object: object, name: name,
                fault: .value(expected: "one integer", found: "\(values)"))
        }
        return values[0]
    }

    private static func header(
        _ file: borrowing HDF5File, _ formats: [CheckpointFormat]
    ) throws -> CheckpointHeader {
        let path = file.path
        guard let name = try file.text(CheckpointName.format) else {
            throw CheckpointError.attribute(file: path, object: "/", name: CheckpointName.format, fault: .missing)
        }
        guard let format = formats.first(where: { $0.rawValue == name }) else {
            let known = formats.map(\.rawValue).joined(separator: ", ")
            throw CheckpointError.attribute(
                file: path, object: "/", name: CheckpointName.format,
                fault: .value(expected: known, found: name))
        }
        guard let versions = try file.integers(CheckpointName.version) else {
            throw CheckpointError.attribute(file: path, object: "/", name: CheckpointName.version, fault: .missing)
        }
        guard versions == [CheckpointFormat.version] else {
            throw CheckpointError.attribute(
                file: path, object: "/", name: CheckpointName.version,
                fault: .value(expected: "\(CheckpointFormat.version)", found: "\(versions)"))
        }
        guard let config = try json(CheckpointName.config, file) else {
            throw CheckpointError.attribute(file: path, object: "/", name: CheckpointName.config, fault: .missing)
        }
        guard let manifest = try json(CheckpointName.manifest, file) else {
            throw CheckpointError.attribute(file: path, object: "/", name: CheckpointName.manifest, fault: .missing)
        }
        return CheckpointHeader(
            format: format, config: config, manifest: manifest,
            scheduler: try json(CheckpointName.scheduler, file),
            textConfig: try json(CheckpointName.textConfig, file), tokenizer: try file.text(CheckpointName.tokenizer))
    }

    /// An attribute of the root that must hold a JSON object, if it is there.
    private static func json(
        _ name: String, _ file: borrowing HDF5File
    ) throws -> String? {
        guard let text = try file.text(name) else { return nil }
        try checkJSONObject(text, file: file.path, document: "the attribute \(name)")
        return text
    }
}

/// Checks that `text` is a JSON object.
///
/// - Throws: `CheckpointError.json`.
func checkJSONObject(_ text: String, file: String, document: String) throws {
    do throws(JSONFault) {
        let value = try Array(text.utf8).withUnsafeBytes { bytes in
            Result { () throws(JSONFault) in try StrictJSON(bytes) }
        }.get()
        guard value.members != nil else { throw .syntax(offset: 0, expected: "an object") }
    } catch {
        throw CheckpointError.json(file: file, document: document, fault: error)
    }
}
