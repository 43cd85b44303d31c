// SPDX-License-Identifier: Apache-2.0
// Reading and writing the JSON documents that pass between commands: a header with format and version, sorted keys,
// one value per line. The same value always gives the same bytes, and every number reads back as the same number.

import Files
import Foundation

/// A versioned JSON document.
public protocol RecipeDocument: Codable, Sendable {
    /// The value of the `format` key.
    static var format: String { get }
    /// The value of the `version` key that this program writes and reads.
    static var version: Int { get }
    /// The keys of a document with a `format` key, which can have no others; nil: others are ignored.
    static var keys: Set<String>? { get }
    /// Whether a document without a `format` key is refused.
    static var requiresHeader: Bool { get }
    /// Checks what the types cannot: finite numbers, unique layers, consistent counts.
    ///
    /// - Throws: the first fault, as a case that names the layer.
    func validate() throws(RecipeError)
}

extension RecipeDocument {
    public static var keys: Set<String>? { nil }

    /// Reads a document from JSON text and checks it.
    ///
    /// - Throws: `RecipeError`: `malformed` (not JSON, or a missing, mistyped, repeated or unknown key), `wrongFormat`,
    ///   `unsupportedVersion`, or what `validate()` throws.
    public static func decode(from data: Data) throws(RecipeError) -> Self {
        let document: Self
        var isJSON = false
        let data = data.withoutByteOrderMark
        let parsed = try parsedDocument(data)
        if parsed?["format"] == .null {
            throw .malformed(location: "format", reason: "expected \"\(format)\", found null")
        }
        do {
            try checkHeader(JSONDecoder().decode(DocumentHeader.self, from: data))
            isJSON = true
            document = try JSONDecoder().decode(Self.self, from: data)
        } catch {
            throw nonFiniteLiteral(in: data) ?? RecipeError(decoding: error, isJSON: isJSON)
        }
        if parsed?["format"] != nil, let keys,
            let unknown = parsed?.members?.first(where: { !keys.contains($0.key) })
        {
            throw .malformed(
                location: named(unknown.key), reason: "unknown key; correct its spelling or remove it")
        }
        try document.validate()
        return document
    }

    /// The document as JSON text: sorted keys, indented, ending in a line break.
    ///
    /// - Throws: what `validate()` throws, so that no faulty document is ever written.
    public func encoded() throws(RecipeError) -> Data {
        try validate()
        do {
            return try JSONEncoder.document.encode(self) + Data("\n".utf8)
        } catch {
            throw .malformed(location: "", reason: "\(error)")
        }
    }

    /// Reads and checks the document in the file `url`.
    ///
    /// - Throws: `RecipeError.inFile` with the file's name around `fileMissing`, `unreadable` or what
    ///   `decode(from:)` throws.
    public static func load(contentsOf url: URL) throws(RecipeError) -> Self {
        do {
            return try decode(from: readFile(url))
        } catch {
            throw .inFile(name: url.relativePath, error)
        }
    }

    /// Replaces the file `url` by this document; an interrupted write leaves the old file whole.
    ///
    /// - Throws: `RecipeError.inFile` with the file's name around `unwritable` or what `encoded()` throws.
    public func write(to url: URL) throws(RecipeError) {
        do {
            try replaceFile(url, with: encoded())
        } catch {
            throw .inFile(name: url.relativePath, error)
        }
    }

    private static func checkHeader(_ header: DocumentHeader) throws(RecipeError) {
        guard header.format != nil || requiresHeader else { return }
        guard header.format == format else { throw .wrongFormat(expected: format, found: header.format) }
        guard let found = header.version else {
            throw .malformed(location: "version", reason: "missing; expected \(version)")
        }
        guard found == version else {
            throw .unsupportedVersion(format: format, expected: version, found: found)
        }
    }

    /// Python writes `NaN` and `Infinity`, which are not JSON. Reads the text again with these allowed, only to
    /// find out which layer holds one.
    private static func nonFiniteLiteral(in data: Data) -> RecipeError? {
        let decoder = JSONDecoder()
        decoder.allowsJSON5 = true
        guard let document = try? decoder.decode(Self.self, from: data) else { return nil }
        do {
            try document.validate()
            return nil
        } catch {
            if case .nonFinite = error { return error }
            return nil
        }
    }
}

/// The document in `data`; nil if it is not JSON, which Foundation's decoder describes.
///
/// - Throws: `RecipeError.malformed` for a key that occurs twice, of which Foundation takes the first and Python the
///   last.
func parsedDocument(_ data: Data) throws(RecipeError) -> JSONValue? {
    do throws(JSONFault) {
        return try JSONValue(data, allowsNonFinite: true)
    } catch .duplicateKey(let key) {
        throw .malformed(location: named(key), reason: "the key occurs twice; remove one")
    } catch {
        return nil
    }
}

/// A key of a JSON object that is data, such as a layer path or bits, and not the name of a field.
struct DocumentKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(_ text: String) {
        stringValue = text
    }

    init?(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) {
        nil
    }
}

/// The two keys that identify the format of a document.
private struct DocumentHeader: Decodable {
    let format: String?
    let version: Int?
}

extension RecipeError {
    /// The case for an error of `JSONDecoder`, which may be one that a document's own initializer threw.
    /// `isJSON` says whether the text is known to be JSON.
    init(decoding error: any Error, isJSON: Bool) {
        guard let error = error as? DecodingError else {
            self =
                (error as? RecipeError)
                ?? .malformed(location: "", reason: Self.reason("\(error)", isJSON: isJSON))
            return
        }
        switch error {
        case .keyNotFound(let key, let context):
            self = .malformed(location: Self.location(context.codingPath + [key]), reason: "missing")
        case .typeMismatch(let type, let context):
            self = .malformed(
                location: Self.location(context.codingPath), reason: "expected \(Self.name(of: type))")
        case .valueNotFound(let type, let context):
            self = .malformed(
                location: Self.location(context.codingPath),
                reason: "expected \(Self.name(of: type)), found null")
        case .dataCorrupted(let context):
            self = .malformed(
                location: Self.location(context.codingPath),
                reason: Self.reason(context.debugDescription, isJSON: isJSON))
        @unknown default:
            self = .malformed(location: "", reason: "\(error)")
        }
    }

    /// Foundation says of a whole number's fraction or size that the text is no JSON, or names an internal error.
    private static func reason(_ found: String, isJSON: Bool) -> String {
        if found.contains("numberIsNotRepresentable") || (isJSON && found.contains("not valid JSON")) {
            return "a number has a fraction, or is too large, where a whole number belongs"
        }
        return found.contains("not valid JSON")
            ? "not valid JSON, or cut off; make the file again"
            : found.replacingOccurrences(of: "\n", with: " ")
    }

    /// What JSON calls a value of `type`.
    private static func name(of type: any Any.Type) -> String {
        switch type {
        case is Int.Type, is UInt64.Type: "a whole number"
        case is Double.Type, is Float.Type: "a number"
        case is String.Type: "text"
        case is Bool.Type: "true or false"
        case is [String: Any].Type: "an object"
        case is [Any].Type: "a list"
        default: "\(type)"
        }
    }

    private static func location(_ path: [any CodingKey]) -> String {
        path.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ": ")
    }
}
