// SPDX-License-Identifier: Apache-2.0
// Writes small files (JSON, HTML, PNG) atomically: readers see the old content or the new content, never a part of it.

import Foundation

/// Reads and writes complete files. Writing uses a temporary file in the same folder, fsync, and rename.
public enum AtomicFile {
    /// Creates the file at `path` with the content `bytes`, or replaces it.
    ///
    /// - Throws: `FileError.cannotCreate` if the folder is missing or not writable, `.writeFailed` if writing fails.
    ///   The old file is unchanged in both cases, and the temporary file is removed.
    public static func write(_ bytes: Data, to path: String) throws(FileError) {
        try write([UInt8](bytes), to: path)
    }

    /// Creates the file at `path` with `text` in UTF-8, or replaces it. No line break is added.
    ///
    /// - Throws: as `write(_:to:)` of `Data`.
    public static func write(_ text: String, to path: String) throws(FileError) {
        try write(Array(text.utf8), to: path)
    }

    /// Creates the file at `path` with the content `bytes`, or replaces it.
    ///
    /// - Throws: as `write(_:to:)` of `Data`.
    public static func write(_ bytes: [UInt8], to path: String) throws(FileError) {
        let file = try PendingFile(path)
        try file.write(bytes, at: 0)
        try file.commit()
    }

    /// The content of the file at `path`.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` for a folder or device.
    public static func read(_ path: String) throws(FileError) -> Data {
        let map = try MappedFile(path)
        return Data(map.bytes)
    }

    /// The content of the text file at `path`, in UTF-8.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` for anything else.
    public static func readText(_ path: String) throws(FileError) -> String {
        let found = try FileInspection(path).kind
        guard [.text, .json, .html, .empty].contains(found), let text = String(data: try read(path), encoding: .utf8)
        else { throw .wrongKind(path: path, expected: .text, found: found == .text ? .unknown : found) }
        return text
    }
}
