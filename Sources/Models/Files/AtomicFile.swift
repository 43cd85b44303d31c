// SPDX-License-Identifier: Apache-2.0
// Whole small files (JSON, HTML, PNG) written so that a reader sees the old content or the new, never a part.

import Foundation

/// Writes of complete files: temporary name in the same folder, fsync, rename.
public enum AtomicFile {
    /// Replaces the file at `path` by `bytes`, or creates it.
    ///
    /// - Throws: `FileError.cannotCreate` where the folder is missing or not writable, `.writeFailed` where the
    ///   disk fails. The old file is untouched then, and no temporary file is left.
    public static func write(_ bytes: Data, to path: String) throws(FileError) {
        try write([UInt8](bytes), to: path)
    }

    /// Replaces the file at `path` by `text` in UTF-8, exactly as given (no newline is added).
    ///
    /// - Throws: as `write(_:to:)` of bytes.
    public static func write(_ text: String, to path: String) throws(FileError) {
        try write(Array(text.utf8), to: path)
    }

    /// Replaces the file at `path` by `bytes`, or creates it.
    ///
    /// - Throws: as `write(_:to:)` of `Data`.
    public static func write(_ bytes: [UInt8], to path: String) throws(FileError) {
        let file = try PendingFile(path)
        try file.write(bytes, at: 0)
        try file.commit()
    }

    /// The whole content of a file.
    ///
    /// - Throws: `FileError.missingFile`, or `.unreadable` where the system refuses.
    public static func read(_ path: String) throws(FileError) -> Data {
        let map = try MappedFile(path)
        return Data(map.bytes)
    }
}
