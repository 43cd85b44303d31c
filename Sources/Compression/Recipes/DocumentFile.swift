// SPDX-License-Identifier: Apache-2.0
// Reads and writes of whole documents, with the errors of documents.

import Files
import Foundation

/// The content of the file `url`.
///
/// - Throws: `RecipeError.fileMissing`, `.malformed` for a folder, or `.unreadable` with the system's reason.
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

/// Replaces the file `url` by `data`, or creates it; see `AtomicFile`.
///
/// - Throws: `RecipeError.unwritable` with the system's reason. Folders, devices and pipes are refused: a rename would
///   replace a device by a plain file.
func replaceFile(_ url: URL, with data: Data) throws(RecipeError) {
    do throws(FileError) {
        try AtomicFile.write(data, to: url.path)
    } catch {
        switch error {
        case .cannotCreate(_, EISDIR), .cannotCreate(_, EINVAL):
            throw .unwritable(reason: "a folder, device or pipe is in the way; choose another name")
        case .cannotCreate(_, let code), .writeFailed(_, let code), .unreadable(_, let code):
            throw .unwritable(reason: String(cString: strerror(code)))
        case .missingFile, .wrongKind: throw .unwritable(reason: "\(error)")
        }
    }
}
