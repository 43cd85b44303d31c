// SPDX-License-Identifier: Apache-2.0
// Opens checkpoints of all kinds and checks their structure. Elements are read on request.

import Files
import Foundation
import Tensors

/// An open checkpoint: a dense model, a student, a packed model, or an image-text encoder. Reading is thread-safe.
public final class CheckpointReader: Sendable {
    /// The path of the file.
    public let path: String
    /// The header of the file.
    public let header: CheckpointHeader
    private let shared: SharedHDF5File
    private let sections: [CheckpointSection: HDF5Tensors]

    /// Opens the file at `path` and checks its structure. Of packed files, the checksums of all tensors except the
    /// packed layers are checked, too.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - formats: the accepted kinds of checkpoint; by default those of diffusion models.
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` if it is not an HDF5 file;
    ///   `HDF5Error.attribute` if it is not a checkpoint or is of another kind; `CheckpointError.imageTextEncoder`,
    ///   `.diffusionModel` if it is of the other kind, `.version`; `JSONError` if a document is not valid JSON;
    ///   `HDF5Error.object` and `.failed`, and `CheckpointError.unusedKeys`, if it is damaged.
    public init(_ path: String, formats: [CheckpointFormat] = CheckpointFormat.models) throws {
        self.path = path
        let shared = SharedHDF5File(try HDF5File.open(path))
        header = try CheckpointHeader(shared.file, formats)
        var sections: [CheckpointSection: HDF5Tensors] = [:]
        for section in try Self.sections(in: shared.file, header) {
            sections[section] = try HDF5Tensors(shared, group: section.group, naming: section.naming)
        }
        self.shared = shared
        self.sections = sections
        if header.format == .packed { try checkSections() }
    }

    /// The kind of checkpoint.
    public var format: CheckpointFormat { header.format }

    /// The stored tensors of the main component: all parameters of a model, latent weights of a student, and the
    /// parameters of a packed model that are not packed.
    public var parameters: any TensorSource {
        guard let found = sections[.component(header.component)] else {
            preconditionFailure("\(path): no group /\(header.component)")
        }
        return found
    }

    /// The stored tensors of the component `name`; nil if the file has no such component.
    public func parameters(of name: String) -> (any TensorSource)? { section(.component(name)) }

    /// The stored tensors of the text encoder; nil if the model has none.
    public var textEncoder: (any TensorSource)? { section(.textEncoder) }

    /// The state of an unfinished run: a JSON document and named tensors; nil if the file has none.
    ///
    /// - Throws: `HDF5Error.object` if the document is missing or damaged.
    public func trainingState() throws -> (json: String, tensors: any TensorSource)? {
        let path = CheckpointName.document(CheckpointName.training)
        guard let tensors = section(.training) else { return nil }
        guard let json = try shared.file.document(path) else {
            throw HDF5Error.object(file: self.path, object: path, fault: .missing)
        }
        return (json, tensors)
    }

    /// Checks the class of the main component.
    ///
    /// - Throws: `HDF5Error.attribute` if it is not `architecture`.
    public func require(architecture: String) throws {
        guard header.architecture == architecture else {
            throw HDF5Error.attribute(
                file: path, object: "/", name: CheckpointName.architecture,
                fault: .value(expected: architecture, found: header.architecture))
        }
    }

    // MARK: Internal

    func section(_ section: CheckpointSection) -> HDF5Tensors? { sections[section] }

    /// The stored sections, sorted by path.
    var storedSections: [CheckpointSection] { sections.keys.sorted { byBytes($0.group, $1.group) } }

    /// The text attribute `name`, which must exist.
    func text(_ name: String, of object: String) throws -> String {
        try shared.file.required(name, object) { file throws in try file.text(name, of: object) }
    }

    /// The integers of the attribute `name`, which must exist.
    func integers(_ name: String, of object: String) throws -> [Int] {
        try shared.file.required(name, object) { file throws in try file.integers(name, of: object) }
    }

    /// The integer attribute `name`, which must exist.
    func integer(_ name: String, of object: String) throws -> Int {
        let values = try integers(name, of: object)
        guard values.count == 1 else {
            throw HDF5Error.attribute(
                file: path, object: object, name: name,
                fault: .value(expected: "one integer", found: "\(values)"))
        }
        return values[0]
    }

    /// The floating-point attribute `name`; nil if it does not exist.
    func float(_ name: String, of object: String) throws -> Float? {
        try shared.file.float(name, of: object)
    }

    /// The groups to open. Checks that each component has a config, and that the groups of the format exist.
    private static func sections(
        in file: borrowing HDF5File, _ header: CheckpointHeader
    ) throws -> [CheckpointSection] {
        var found: [CheckpointSection] = []
        for entry in try file.members(of: "/") where entry.kind == .group {
            let group = "/" + entry.name
            switch group {
            case CheckpointName.header, CheckpointName.tokenizers: continue
            case CheckpointName.quantization, CheckpointName.packed:
                found += try file.members(of: group).map { CheckpointSection(group: group + "/" + $0.name) }
            case CheckpointSection.timeFeatures.group: found.append(.timeFeatures)
            case CheckpointSection.training.group: found.append(.training)
            default: found.append(.component(entry.name))
            }
        }
        let components = header.configs.keys.sorted(by: byBytes)
        let known = Set(
            components.flatMap { [.component($0), .quantization($0), .packed($0)] }
                + [CheckpointSection.timeFeatures, .training])
        if let stray = found.first(where: { !known.contains($0) }) {
            throw HDF5Error.object(
                file: file.path, object: stray.group,
                fault: .value(expected: "one of \(components.joined(separator: ", "))", found: "another component"))
        }
        var needed = components.map { CheckpointSection.component($0) }
        if header.format == .student { needed.append(.quantization(header.component)) }
        if header.format == .packed { needed.append(.packed(header.component)) }
        for section in needed where !found.contains(section) {
            throw HDF5Error.object(file: file.path, object: section.group, fault: .missing)
        }
        return found
    }
}

extension HDF5File {
    fileprivate func required<Value>(
        _ name: String, _ object: String = "/", _ read: (borrowing HDF5File) throws -> Value?
    ) throws -> Value {
        guard let value = try read(self) else {
            throw HDF5Error.attribute(file: path, object: object, name: name, fault: .missing)
        }
        return value
    }
}

extension CheckpointHeader {
    /// Reads the header of an open file.
    ///
    /// - Throws: as `CheckpointReader`.
    fileprivate init(_ file: borrowing HDF5File, _ formats: [CheckpointFormat]) throws {
        let path = file.path
        func fault(_ name: String, _ fault: AttributeFault) -> HDF5Error {
            .attribute(file: path, object: "/", name: name, fault: fault)
        }
        // The version is checked first, because other versions can store text differently.
        let version = try file.integers(CheckpointName.version)
        if let version, version != [CheckpointFormat.version] {
            throw CheckpointError.version(file: path, expected: CheckpointFormat.version, found: version.first ?? 0)
        }
        let name = try file.required(CheckpointName.format) { file throws in try file.text(CheckpointName.format) }
        guard let format = formats.first(where: { $0.rawValue == name }) else {
            if name == CheckpointFormat.clip.rawValue { throw CheckpointError.imageTextEncoder(file: path) }
            if formats == [.clip], CheckpointFormat(rawValue: name) != nil {
                throw CheckpointError.diffusionModel(file: path, format: name)
            }
            let known = formats.map(\.rawValue).joined(separator: ", ")
            throw fault(CheckpointName.format, .value(expected: known, found: name))
        }
        if version == nil { throw fault(CheckpointName.version, .missing) }
        let architecture = try file.required(CheckpointName.architecture) { file throws in
            try file.text(CheckpointName.architecture)
        }
        let component = try file.required(CheckpointName.component) { file throws in
            try file.text(CheckpointName.component)
        }
        var documents: [String: String] = [:]
        for entry in try file.members(of: CheckpointName.header) {
            let object = CheckpointName.document(entry.name)
            guard let text = try file.document(object) else { continue }
            try JSONError.checkObject(text, file: path, document: object)
            documents[entry.name] = text
        }
        func take(_ name: String) throws -> String {
            guard let text = documents.removeValue(forKey: name) else {
                throw HDF5Error.object(file: path, object: CheckpointName.document(name), fault: .missing)
            }
            return text
        }
        let manifest = try take(CheckpointName.manifest)
        let scheduler = documents.removeValue(forKey: CheckpointName.scheduler)
        let modelIndex = documents.removeValue(forKey: CheckpointName.modelIndex)
        let preprocessor = documents.removeValue(forKey: CheckpointName.preprocessor)
        documents.removeValue(forKey: CheckpointName.training)
        if let name = documents.keys.sorted(by: byBytes).first(where: { !CheckpointSection.isComponent($0) }) {
            throw HDF5Error.object(
                file: path, object: CheckpointName.document(name),
                fault: .value(expected: "the name of a component", found: "another name"))
        }
        if documents[component] == nil {
            throw HDF5Error.object(file: path, object: CheckpointName.document(component), fault: .missing)
        }
        let tokenizer = try file.text(CheckpointName.tokenizer)
        let hasTextEncoder = documents.keys.contains { $0.hasPrefix(Self.textEncoder) }
        if hasTextEncoder != (tokenizer != nil) {
            throw fault(
                CheckpointName.tokenizer,
                hasTextEncoder ? .missing : .value(expected: "none without a text encoder", found: tokenizer ?? ""))
        }
        self.init(
            format: format, architecture: architecture, component: component, configs: documents, manifest: manifest,
            scheduler: scheduler, modelIndex: modelIndex, preprocessor: preprocessor, tokenizer: tokenizer,
            tokenizers: try Self.tokenizers(in: file))
    }

    /// The texts of the group `/tokenizers`.
    private static func tokenizers(in file: borrowing HDF5File) throws -> [String: [String: String]] {
        var tokenizers: [String: [String: String]] = [:]
        guard try file.contains(CheckpointName.tokenizers) else { return [:] }
        for component in try file.members(of: CheckpointName.tokenizers) where component.kind == .group {
            let group = CheckpointName.tokenizers + "/" + component.name
            for entry in try file.members(of: group) {
                tokenizers[component.name, default: [:]][entry.name] = try file.document(group + "/" + entry.name)
            }
        }
        return tokenizers
    }
}
