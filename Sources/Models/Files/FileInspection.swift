// SPDX-License-Identifier: Apache-2.0
// The kind of a file, determined from the file system and its first bytes, independent of its name.

import Foundation

/// The kind and the size of a file.
package struct FileInspection: Equatable, Sendable {
    package let kind: FileKind
    /// The size in bytes; 0 except for regular files.
    package let size: Int

    /// The signature of HDF5. It is at offset 0, or at 512, 1024, 2048 ... after a user block.
    package static let hdf5Signature: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]

    /// Inspects the file or folder at `path`.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`.
    package init(_ path: String) throws(FileError) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .readFailure(path, errno) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            self.init(kind: .folder, size: 0)
            return
        case S_IFREG: break
        default:
            self.init(kind: .special, size: 0)
            return
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .readFailure(path, errno) }
        defer { close(descriptor) }
        let size = Int(status.st_size)
        self.init(kind: Self.kind(of: descriptor, size: size), size: size)
    }

    private init(kind: FileKind, size: Int) {
        self.kind = kind
        self.size = size
    }

    private static func kind(of descriptor: Int32, size: Int) -> FileKind {
        if size == 0 { return .empty }
        let head = bytes(of: descriptor, at: 0, count: 16)
        if head.starts(with: [0x50, 0x4B, 0x03, 0x04]) { return .zip }
        var offset = 0
        while offset + 8 <= size {
            if bytes(of: descriptor, at: offset, count: 8) == hdf5Signature { return .hdf5 }
            offset = offset == 0 ? 512 : offset * 2
        }
        if head.count > 8, head[8] == UInt8(ascii: "{"), head[6] == 0, head[7] == 0 { return .safetensors }
        if head.starts(with: Array("GGUF".utf8)) { return .gguf }
        // Pickles begin with the opcode PROTO and a protocol's number.
        if head.count > 1, head[0] == 0x80, (2...5).contains(head[1]) { return .pickle }
        if head.starts(with: Array("version https".utf8)) { return .lfsPointer }
        switch head.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }) {
        case UInt8(ascii: "{"): return .json
        case UInt8(ascii: "<"): return .html
        default: return .unknown
        }
    }

    private static func bytes(of descriptor: Int32, at offset: Int, count: Int) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &buffer, count, off_t(offset))
        return Array(buffer.prefix(max(0, got)))
    }
}
