// SPDX-License-Identifier: Apache-2.0
// A folder that is being written. Its files are collected in a folder with a temporary name, which replaces the
// destination at once when all of them are complete. Until then the destination is unchanged.

import CFileSystem
import Foundation

/// A folder with the temporary name `destination.tmp-PID` beside the destination. It is removed unless `commit()`
/// succeeds.
///
/// Where the destination cannot be exchanged as a whole (it is a mount point or the current folder, its parent is not
/// writable, or the file system does not support it), the temporary folder is `destination/.tmp-PID`, and the files are
/// renamed one after the other. The initializer also removes temporary folders of killed processes.
package final class PendingFolder {
    /// The folder as it was given, without slashes at its end.
    package let destination: String
    /// The temporary folder, for files with the paths that they will have below the destination.
    package let path: String
    private let target: String
    private var isExchanged: Bool
    private let isNew: Bool
    private var isFinished = false

    /// Creates the temporary folder.
    ///
    /// - Parameters:
    ///   - path: the destination.
    ///   - exchanges: false renames the files one after the other.
    /// - Throws: `FileError.cannotCreate` if the parent folder is missing, if neither it nor the destination is
    ///   writable, or if a file exists at `path`.
    package init(_ path: String, exchanges: Bool = true) throws(FileError) {
        var trimmed = path
        while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
        destination = trimmed
        guard !trimmed.isEmpty else { throw .cannotCreate(path: path, code: ENOENT) }
        var status = stat()
        isNew = lstat(trimmed, &status) != 0
        guard isNew || stat(trimmed, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR else {
            throw .cannotCreate(path: trimmed, code: EEXIST)
        }
        target = isNew ? trimmed : PathParts.resolved(trimmed)
        let outside = target + ".tmp-\(getpid())", inside = target + "/.tmp-\(getpid())"
        Self.removeStale(PathParts(target).folder, prefix: PathParts(target).name + ".tmp-")
        if !isNew { Self.removeStale(target, prefix: ".tmp-") }
        isExchanged = isNew || exchanges && !Self.contains(target, PathParts.resolved("."))
        if isExchanged, mkdir(outside, 0o777) == 0 {
            self.path = outside
            return
        }
        let code = errno
        guard !isNew else { throw .cannotCreate(path: trimmed, code: code) }
        isExchanged = false
        guard mkdir(inside, 0o777) == 0 else { throw .cannotCreate(path: trimmed, code: errno) }
        self.path = inside
    }

    deinit {
        if !isFinished { try? FileManager.default.removeItem(atPath: path) }
    }

    /// Replaces the destination. Its files that the new folder does not have are kept, except `obsolete` ones.
    ///
    /// - Parameter obsolete: paths below the folder.
    /// - Throws: `FileError.writeFailed`.
    package func commit(removing obsolete: Set<String> = []) throws(FileError) {
        precondition(!isFinished, "PendingFolder: \(destination) was committed before")
        if isNew {
            guard rename(path, target) == 0 else { throw .writeFailed(path: destination, code: errno, hadFile: false) }
        } else if !isExchanged || !exchange(obsolete) {
            try moveFiles(obsolete)
        }
        isFinished = true
        PendingFile.syncFolder(of: target)
        // After an exchange, these are the old files.
        if !isNew { try? FileManager.default.removeItem(atPath: path) }
    }

    /// Adds the kept files to the new folder as further names, and exchanges both folders.
    ///
    /// - Returns: false where this is not possible. The destination is unchanged.
    private func exchange(_ obsolete: Set<String>) -> Bool {
        var status = stat()
        guard stat(target, &status) == 0, chmod(path, status.st_mode & 0o7777) == 0 else { return false }
        for name in Self.names(below: target) where !obsolete.contains(name) {
            let (old, new) = (target + "/" + name, path + "/" + name)
            var found = stat()
            guard lstat(old, &found) == 0 else { return false }
            let isDone =
                found.st_mode & S_IFMT == S_IFDIR
                ? mkdir(new, found.st_mode & 0o7777) == 0 || errno == EEXIST
                : link(old, new) == 0 || errno == EEXIST
            guard isDone else { return false }
        }
        #if os(Linux)
            let exchange: UInt32 = 1 << 1  // RENAME_EXCHANGE
            return renameat2(AT_FDCWD, path, AT_FDCWD, target, exchange) == 0
        #else
            return renamex_np(path, target, UInt32(RENAME_SWAP)) == 0
        #endif
    }

    /// Renames the new files one after the other: weights first, then texts, those of subfolders before others, so that
    /// the index of a pipeline comes last.
    private func moveFiles(_ obsolete: Set<String>) throws(FileError) {
        let names = Self.names(below: path)
        var files: [String] = []
        for name in names {
            var found = stat()
            guard lstat(path + "/" + name, &found) == 0, found.st_mode & S_IFMT == S_IFDIR else {
                files.append(name)
                continue
            }
            guard mkdir(target + "/" + name, 0o777) == 0 || errno == EEXIST else { throw failure(name) }
        }
        for name in obsolete where unlink(target + "/" + name) != 0 && errno != ENOENT { throw failure(name) }
        let rank = { (name: String) in
            (name.hasSuffix(".safetensors") ? 0 : 1, -name.utf8.count { $0 == UInt8(ascii: "/") }, name)
        }
        for name in files.sorted(by: { rank($0) < rank($1) }) {
            guard rename(path + "/" + name, target + "/" + name) == 0 else { throw failure(name) }
        }
    }

    private func failure(_ name: String) -> FileError {
        let code = errno
        return .writeFailure(destination + "/" + name, code)
    }

    /// What `body` returns. Its errors name files of the destination instead of temporary ones.
    package func naming<Result>(_ body: () throws -> Result) throws -> Result {
        func named(_ file: String) -> String {
            file.hasPrefix(path + "/") ? destination + file.dropFirst(path.count) : file
        }
        do {
            return try body()
        } catch FileError.writeFailed(let file, let code, _) {
            throw FileError.writeFailure(named(file), code)
        } catch FileError.cannotCreate(let file, let code) {
            throw FileError.cannotCreate(path: named(file), code: code)
        }
    }

    /// All entries below a folder except temporary ones, each after its folder.
    private static func names(below folder: String) -> [String] {
        let prefix = "/.tmp-"
        return ((try? FileManager.default.subpathsOfDirectory(atPath: folder)) ?? [])
            .filter { !("/" + $0).contains(prefix) }.sorted(by: byBytes)
    }

    private static func contains(_ folder: String, _ other: String) -> Bool {
        other == folder || other.hasPrefix(folder == "/" ? "/" : folder + "/")
    }

    /// Removes folders `prefixPID` of processes that do not exist any more, whose numbers this process may have got.
    private static func removeStale(_ folder: String, prefix: String) {
        for (name, process) in PendingFile.temporaryEntries(of: folder, prefix: prefix)
        where PendingFile.isDead(process) || process == getpid() {
            try? FileManager.default.removeItem(atPath: (folder.isEmpty ? "." : folder) + "/" + name)
        }
    }
}
