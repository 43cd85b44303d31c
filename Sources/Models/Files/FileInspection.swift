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
        var offset = 512
        while offset + 8 <= size {
            if bytes(of: descriptor, at: offset, count: 8) == hdf5Signature { return .hdf5 }
            offset *= 2
        }
        return FileKind(head: bytes(of: descriptor, at: 0, count: 512))
    }

    private static func bytes(of descriptor: Int32, at offset: Int, count: Int) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &buffer, count, off_t(offset))
        return Array(buffer.prefix(max(0, got)))
    }
}

extension FileKind {
    /// Formats whose files begin with these bytes at an offset.
    private static let signatures: [(kind: FileKind, offset: Int, bytes: [UInt8])] = [
        (.zip, 0, [0x50, 0x4B, 0x03, 0x04]), (.hdf5, 0, FileInspection.hdf5Signature),
        (.gguf, 0, Array("GGUF".utf8)), (.lfsPointer, 0, Array("version https".utf8)),
        (.png, 0, [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]), (.jpeg, 0, [0xFF, 0xD8, 0xFF]),
        (.webp, 8, Array("WEBP".utf8)), (.gif, 0, Array("GIF8".utf8)), (.tiff, 0, [0x49, 0x49, 0x2A, 0]),
        (.tiff, 0, [0x4D, 0x4D, 0, 0x2A]), (.heif, 4, Array("ftyp".utf8)),
    ]

    /// The kind of a file that begins with `head`, its first 512 bytes or all of them.
    package init(head: [UInt8]) {
        if head.isEmpty {
            self = .empty
        } else if let known = Self.signatures.first(where: { head.dropFirst($0.offset).starts(with: $0.bytes) }) {
            self = known.kind
        } else if head.count > 8, head[8] == UInt8(ascii: "{"), head[6] == 0, head[7] == 0 {
            self = .safetensors
        } else if head.count > 1, head[0] == 0x80, (2...5).contains(head[1]) {
            // Pickles begin with the opcode PROTO and a protocol's number.
            self = .pickle
        } else {
            switch head.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }) {
            case UInt8(ascii: "{"): self = .json
            case UInt8(ascii: "<"): self = .html
            default: self = Self.isText(head) ? .text : head.starts(with: Array("BM".utf8)) ? .bmp : .unknown
            }
        }
    }

    /// Whether `head` is UTF-8 without control characters other than blanks. Its last character may be cut off.
    private static func isText(_ head: [UInt8]) -> Bool {
        let blanks: Set<UInt8> = [0x09, 0x0A, 0x0C, 0x0D]
        guard head.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || blanks.contains($0) }) else { return false }
        return (0...3).contains { String(validating: head.dropLast($0), as: UTF8.self) != nil }
    }
}
