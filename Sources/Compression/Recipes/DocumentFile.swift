// SPDX-License-Identifier: Apache-2.0
// Reading a small file whole, and replacing one so that a crash leaves either the old or the new content.

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

/// Writes `data` to a temporary file beside `url`, flushes it to the disk, then renames it to `url`.
///
/// - Throws: `RecipeError.unwritable` with the system's reason; the temporary file is removed. Folders, devices and
///   pipes are refused: a rename would put a plain file in a device's place.
func replaceFile(_ url: URL, with data: Data) throws(RecipeError) {
    var status = stat()
    if stat(url.path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
        throw .unwritable(reason: "a folder, device or pipe is in the way; choose another name")
    }
    let temporary = "\(url.path).tmp-\(ProcessInfo.processInfo.processIdentifier)"
    do throws(RecipeError) {
        try writeAndFlush(data, to: temporary)
        guard rename(temporary, url.path) == 0 else { throw unwritable() }
    } catch {
        unlink(temporary)
        throw error
    }
}

private func writeAndFlush(_ data: Data, to path: String) throws(RecipeError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    guard descriptor >= 0 else { throw unwritable() }
    let isWhole = data.withUnsafeBytes { bytes in
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            guard count > 0 || (count < 0 && errno == EINTR) else { return false }
            rest = rest.dropFirst(max(count, 0))
        }
        return fsync(descriptor) == 0
    }
    // The reason has to be taken before `close` overwrites it.
    let failure = isWhole ? nil : unwritable()
    guard close(descriptor) == 0 || failure != nil else { throw unwritable() }
    if let failure { throw failure }
}

/// The reason of the system call that just failed.
private func unwritable() -> RecipeError {
    .unwritable(reason: String(cString: strerror(errno)))
}
