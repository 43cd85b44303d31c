// SPDX-License-Identifier: Apache-2.0
// Configuration files in YAML (JSON is YAML too), with errors that name the file and the key.

import BitsFusion
import Foundation
import Yams

/// A configuration file that cannot be followed.
struct YAMLError: ExitStatusProviding {
    let file: String
    let reason: String

    var exitStatus: ExitStatus { .badData }
    var description: String { "\(file): \(reason)" }
}

enum YAMLDocument {
    /// Reads a `Value` from the file at `path`.
    ///
    /// - Throws: `CheckpointError.missingFile`, `.unreadable`; `YAMLError` where it is no YAML or another document.
    static func read<Value: Decodable>(_ type: Value.Type, from path: String) throws -> Value {
        let data = try AtomicFile.read(path)
        guard let text = String(data: data, encoding: .utf8) else {
            throw YAMLError(file: path, reason: "not UTF-8 text; give a YAML file")
        }
        do {
            return try YAMLDecoder().decode(type, from: text)
        } catch let error as DecodingError {
            throw YAMLError(file: path, reason: Self.reason(error))
        } catch let error as YamlError {
            throw YAMLError(file: path, reason: "not valid YAML: \(error)")
        }
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
