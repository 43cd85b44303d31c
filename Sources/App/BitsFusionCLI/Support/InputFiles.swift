// SPDX-License-Identifier: Apache-2.0
// Files that commands read besides models: YAML settings (JSON is YAML), prompts and recipes.

import BitsFusion
import Foundation
import Yams

/// A prompt of an evaluation.
struct PromptRecord: Equatable {
    let text: String
    /// The group whose mean score is reported; nil without one.
    var category: String?
}

enum PromptFile {
    /// The prompts of the file at `path`, as `records(at:)`.
    static func prompts(at path: String) throws -> [String] { try records(at: path).map(\.text) }

    /// The prompts of the file at `path` with their categories, by the extension of its name:
    /// - `.jsonl`: one JSON object per line, with `prompt`, `text` or `caption`, and optionally `category`;
    /// - `.tsv`: columns that the first line names, one of them Prompt, Text or Caption, and optionally Category, as
    ///   PartiPrompts (arXiv:2206.10789);
    /// - others: one prompt per line.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, `.wrongKind` if it is not text; `CommandError` if it has no
    ///   prompt, or a line without one.
    static func records(at path: String) throws -> [PromptRecord] {
        let lines = try lines(path)
        switch path.split(separator: ".").last?.lowercased() {
        case "jsonl": return try lines.map { try record(json: $0.text, at: "\(path): line \($0.number)") }
        case "tsv": return try records(table: lines, path)
        default: return lines.map { PromptRecord(text: $0.text.trimmingCharacters(in: .whitespaces)) }
        }
    }

    /// The keys and columns of a prompt; the first one that exists counts.
    private static let promptKeys = ["prompt", "text", "caption"]

    private static func record(json line: String, at location: String) throws -> PromptRecord {
        guard let value = try? JSONValue(Array(line.utf8)), value.members != nil else {
            throw CommandError(.badData, "\(location): expected a JSON object; correct the line or remove it")
        }
        guard let prompt = promptKeys.compactMap({ value[$0]?.text }).first, !prompt.isEmpty else {
            throw CommandError(
                .badData,
                "\(location): no prompt: expected text under one of \(promptKeys.joined(separator: ", ")); add it")
        }
        return PromptRecord(text: prompt, category: value["category"]?.text)
    }

    private static func records(table lines: [(number: Int, text: String)], _ path: String) throws -> [PromptRecord] {
        func cells(_ line: String) -> [String] {
            line.split(separator: "\t", omittingEmptySubsequences: false)
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let header = cells(lines[0].text).map { $0.lowercased() }
        guard let column = promptKeys.compactMap({ header.firstIndex(of: $0) }).first else {
            throw CommandError(
                .badData,
                "\(path): line \(lines[0].number): no column Prompt: expected names of columns, separated by tabs; add "
                    + "them")
        }
        let category = header.firstIndex(of: "category")
        let records = try lines.dropFirst().map { number, line in
            let cells = cells(line)
            guard cells.count > column, !cells[column].isEmpty else {
                throw CommandError(.badData, "\(path): line \(number): no prompt; add it or remove the line")
            }
            let name = category.flatMap { $0 < cells.count ? cells[$0] : nil }
            return PromptRecord(text: cells[column], category: name?.isEmpty == false ? name : nil)
        }
        guard !records.isEmpty else {
            throw CommandError(.badData, "\(path): no prompts; give one line per prompt after the names of the columns")
        }
        return records
    }

    /// The lines of a text file that are not blank, numbered from 1.
    private static func lines(_ path: String) throws -> [(number: Int, text: String)] {
        let lines = try AtomicFile.readText(path).split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated()
            .map { (number: $0.offset + 1, text: String($0.element)) }
            .filter { !$0.text.allSatisfy(\.isWhitespace) }
        guard !lines.isEmpty else {
            throw CommandError(.badData, "\(path): no prompts; give a file with one prompt per line")
        }
        return lines
    }
}

extension BitRecipe {
    /// Reads the recipe that `argument` names: a file in any format, or FILE#NAME for one recipe of an Apple analysis.
    ///
    /// - Throws: `RecipeError`.
    static func named(_ argument: String) throws -> BitRecipe {
        let file = file(of: argument)
        let name = argument == file ? nil : String(argument.dropFirst(file.count + 1))
        return try load(anyFormat: URL(fileURLWithPath: file), name: name)
    }

    /// The file that `argument` names; an existing file may have a # in its name.
    static func file(of argument: String) -> String {
        guard !FileManager.default.fileExists(atPath: argument), let hash = argument.lastIndex(of: "#"),
            hash != argument.startIndex
        else { return argument }
        return String(argument[..<hash])
    }
}

/// An error of a configuration file.
struct YAMLError: CategorizedError {
    let file: String
    let reason: String

    var category: ErrorCategory { .badData }
    var description: String { "\(file): \(reason)" }
}

enum YAMLDocument {
    /// Reads a `Value` from the file at `path`; the file must not have other keys.
    ///
    /// - Throws: as `read(anyKeysIn:from:)`, and `YAMLError` for an unknown key.
    static func read<Value: Codable>(_ type: Value.Type, from path: String) throws -> Value {
        let value = try read(anyKeysIn: type, from: path)
        // The keys that encoding the value writes are the known ones.
        let known = try Yams.compose(yaml: YAMLEncoder().encode(value))
        let given = try Yams.compose(yaml: String(decoding: AtomicFile.read(path), as: UTF8.self))
        if let given, let known, let key = unknownKey(in: given, known, at: []) {
            throw YAMLError(file: path, reason: "\(key): unknown key; correct its spelling or remove it")
        }
        return value
    }

    /// The first key, as a dotted path, that has a value in `given` and is not in `known`.
    private static func unknownKey(in given: Node, _ known: Node, at path: [String]) -> String? {
        guard let mapping = given.mapping else { return nil }
        for (key, value) in mapping {
            guard let name = key.string else { continue }
            guard let counterpart = known.mapping?.first(where: { $0.key.string == name })?.value else {
                if value.null != nil { continue }
                return (path + [name]).joined(separator: ".")
            }
            if let found = unknownKey(in: value, counterpart, at: path + [name]) { return found }
        }
        return nil
    }

    /// Reads a `Value` from the file at `path`; the file may have other keys.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, `.wrongKind` if it is not text; `YAMLError` if it is not YAML
    ///   or another document.
    static func read<Value: Decodable>(anyKeysIn type: Value.Type, from path: String) throws -> Value {
        let text = try AtomicFile.readText(path)
        do {
            return try YAMLDecoder().decode(type, from: text)
        } catch let error as DecodingError {
            throw YAMLError(file: path, reason: Self.reason(error))
        } catch let error as YamlError {
            throw YAMLError(file: path, reason: "not valid YAML: \(error)")
        }
    }

    /// `value` as YAML, in the order that it encodes its keys in.
    ///
    /// - Throws: what `value` throws.
    static func text(_ value: some Encodable) throws -> String {
        guard let node = try Yams.compose(yaml: YAMLEncoder().encode(value)) else { return "" }
        return try Yams.serialize(node: decimalNumbers(node))
    }

    /// `node` with numbers as short decimals, 0.1 in place of 0.100000001490116.
    private static func decimalNumbers(_ node: Node) -> Node {
        switch node {
        case .scalar: node.int == nil ? node.float.map { Node(decimal($0)) } ?? node : node
        case .mapping(let mapping): Node(mapping.map { ($0.key, decimalNumbers($0.value)) })
        case .sequence(let sequence): Node(sequence.map(decimalNumbers))
        default: node
        }
    }

    /// The shortest decimal of a number. Yams writes 15 digits of the Double that equals a Float.
    private static func decimal(_ value: Double) -> String {
        let float = Float(value)
        return abs(Double(float) - value) <= 1e-14 * abs(value) ? "\(float)" : "\(value)"
    }

    private static func reason(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, let context):
            "\(location(context.codingPath + [key])): missing; add it"
        case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
            "\(location(context.codingPath)): expected \(type)"
        case .dataCorrupted(let context):
            "\(location(context.codingPath)): "
                + (context.underlyingError.map { "\($0)" } ?? context.debugDescription)
        @unknown default: "\(error)"
        }
    }

    private static func location(_ path: [any CodingKey]) -> String {
        path.isEmpty ? "document" : path.map(\.stringValue).joined(separator: ".")
    }
}
