// SPDX-License-Identifier: Apache-2.0
// Small text files of a model: configs and tokenizer files. Editors on Windows put a byte order mark at the beginning,
// which is not part of the text.

import Foundation

/// Reads text files, without their byte order mark.
package enum TextDocument {
    /// The text of a file in UTF-8, without a byte order mark.
    ///
    /// - Throws: `FileError`, `JSONError` with `.notUTF8`.
    package static func text(_ path: String) throws -> String {
        let bytes = try AtomicFile.read(path)
        let isMarked = bytes.starts(with: [0xEF, 0xBB, 0xBF])
        guard let text = String(validating: isMarked ? bytes.dropFirst(3) : bytes, as: UTF8.self) else {
            throw JSONError(file: path, document: PathParts(path).name, fault: .notUTF8)
        }
        return text
    }

    /// The text of a file that must hold a JSON object.
    ///
    /// - Throws: `FileError`, `JSONError`.
    package static func object(_ path: String) throws -> (text: String, value: JSONValue) {
        let text = try text(path)
        return (text, try JSONError.checkObject(text, file: path, document: PathParts(path).name))
    }
}
