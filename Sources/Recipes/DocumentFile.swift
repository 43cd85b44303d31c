// SPDX-License-Identifier: Apache-2.0
// Reading a small file whole, and replacing one so that a crash leaves either the old or the new content.

import Foundation

/// The content of the file `url`.
///
/// - Throws: `RecipeError.fileMissing`, or `RecipeError.unreadable` with the system's reason.
func readFile(_ url: URL) throws(RecipeError) -> Data {
    guard FileManager.default.fileExists(atPath: url.path) else { throw .fileMissing }
    do {
        return try Data(contentsOf: url)
    } catch {
        throw .unreadable(reason: error.localizedDescription.replacingOccurrences(of: "\n", with: " "))
    }
}

/// Writes `data` to a temporary file beside `url`, flushes it to the disk, then renames it to `url`.
///
/// - Throws: `RecipeError.unwritable` with the system's reason; the temporary file is removed.
func replaceFile(_ url: URL, with data: Data) throws(RecipeError) {
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
