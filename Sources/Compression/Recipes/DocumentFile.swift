// SPDX-License-Identifier: Apache-2.0
// Reads and writes the files of documents, with the errors of documents.

import Files
import Foundation

/// The content of the file `url`.
///
/// - Throws: `RecipeError.fileMissing`, `.malformed` for a folder, or `.unreadable` with the description of the system.
func readFile(_ url: URL) throws(RecipeError) -> Data {
    var isFolder = ObjCBool(false)
    guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else { throw .fileMissing }
    guard !isFolder.boolValue else {
        throw .malformed(location: "", reason: "expected a JSON document, found a folder; give a file")
    }
    do {
        return try Data(contentsOf: url)
    } catch {
        throw .unreadable(reason: error.localizedDescription.replacingOccurrences(of: "\n", with: " "))
    }
}

/// Creates the file `url` with the content `data`, or replaces it; see `AtomicFile`.
///
/// - Throws: `RecipeError.unwritable` or `.writeFailed` with the description of the system; `.unwritable` also for
///   folders, devices and pipes, which a rename would replace.
func replaceFile(_ url: URL, with data: Data) throws(RecipeError) {
    do throws(FileError) {
        try AtomicFile.write(data, to: url.path)
    } catch {
        switch error {
        case .cannotCreate(_, EISDIR), .cannotCreate(_, EINVAL):
            throw .unwritable(reason: "the path is a folder, device or pipe; choose another name")
        case .cannotCreate(_, let code): throw .unwritable(reason: String(cString: strerror(code)))
        case .writeFailed(_, let code, let hadFile):
            throw .writeFailed(reason: String(cString: strerror(code)), hadFile: hadFile)
        case .missingFile, .unreadable, .inUse, .notALock, .wrongKind, .appendFailed, .streamFailed:
            throw .unwritable(reason: "\(error)")
        }
    }
}
