// SPDX-License-Identifier: Apache-2.0
// Writing under a temporary name: what is visible when, and what is left behind.

import Foundation
import TestKit
import Testing

@testable import Checkpoints
@testable import Files

@Suite struct PendingFileTests {
    @Test("a committed file holds exactly what was written, and nothing else is left in the folder")
    func commits() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("hello\n", to: folder.file("a.json"))
        #expect(try AtomicFile.read(folder.file("a.json")) == Data("hello\n".utf8))
        #expect(folder.names == ["a.json"])
    }

    @Test("an empty file can be written and read")
    func emptyFile() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("", to: folder.file("empty"))
        #expect(try AtomicFile.read(folder.file("empty")).isEmpty)
    }

    @Test("until it is committed, the old file stays and the new one has another name")
    func oldFileStays() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("a", "old")
        var pending: PendingFile? = try PendingFile(path)
        try pending?.write(Array("new".utf8), at: 0)
        #expect(try folder.bytes("a") == Array("old".utf8))
        #expect(folder.names == ["a", "a.tmp-\(getpid())"])
        pending = nil
        #expect(folder.names == ["a"])
        #expect(try folder.bytes("a") == Array("old".utf8))
    }

    @Test("two writers of one path in one process do not share a temporary file")
    func twoWriters() throws {
        let folder = try TemporaryFolder()
        let first = try PendingFile(folder.file("a"))
        let second = try PendingFile(folder.file("a"))
        #expect(first.temporaryPath != second.temporaryPath)
        try first.write([1], at: 0)
        try second.write([2], at: 0)
        try second.commit()
        try first.commit()
        #expect(try folder.bytes("a") == [1])
        #expect(folder.names == ["a"])
    }

    @Test("temporary files of dead processes are swept, those of live ones and of other files stay")
    func sweeps() throws {
        let folder = try TemporaryFolder()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["true"]
        try process.run()
        process.waitUntilExit()
        let dead = process.processIdentifier
        for name in ["a.tmp-\(dead)", "a.tmp-\(dead).1", "a.tmp-\(getppid())", "b.tmp-\(dead)", "a.tmp-x"] {
            try folder.write(name, "stale")
        }
        try AtomicFile.write("x", to: folder.file("a"))
        #expect(folder.names == ["a", "a.tmp-\(getppid())", "a.tmp-x", "b.tmp-\(dead)"].sorted())
    }

    @Test("a path whose folder does not exist cannot be created")
    func missingFolder() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("nowhere/a")
        #expect(throws: FileError.cannotCreate(path: path, code: ENOENT)) {
            try AtomicFile.write("x", to: path)
        }
    }

    @Test("a folder or a device at the path is never replaced")
    func somethingElseInTheWay() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.cannotCreate(path: folder.path, code: EISDIR)) {
            try AtomicFile.write("x", to: folder.path)
        }
        #expect(throws: FileError.cannotCreate(path: "/dev/null", code: EINVAL)) {
            try AtomicFile.write("x", to: "/dev/null")
        }
    }

    @Test(
        "a folder without write permission gives cannotCreate",
        .enabled(if: geteuid() != 0, "the superuser may write everywhere"))
    func unwritableFolder() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a")
        chmod(folder.path, 0o555)
        defer { chmod(folder.path, 0o755) }
        #expect(throws: FileError.cannotCreate(path: path, code: EACCES)) {
            try AtomicFile.write("x", to: path)
        }
    }

    @Test("a symbolic link keeps pointing at the file, which gets the new content and keeps its mode")
    func followsLinks() throws {
        let folder = try TemporaryFolder()
        let target = try folder.write("real", "old")
        chmod(target, 0o640)
        symlink(target, folder.file("link"))
        try AtomicFile.write("new", to: folder.file("link"))
        #expect(try folder.bytes("real") == Array("new".utf8))
        var status = stat()
        #expect(lstat(folder.file("link"), &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
        #expect(stat(target, &status) == 0 && status.st_mode & 0o777 == 0o640)
    }

    @Test("reading a file that is not there names it")
    func missingFile() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.missingFile(path: folder.file("x"))) {
            try AtomicFile.read(folder.file("x"))
        }
    }
}

@Suite struct FileDigestTests {
    @Test(
        "SHA-256 gives the published digests",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ])
    func published(_ text: String, _ digest: String) throws {
        let folder = try TemporaryFolder()
        #expect(FileDigest.sha256(of: Data(text.utf8)) == digest)
        #expect(try FileDigest.sha256(ofFile: folder.write("a", text)) == digest)
    }

    @Test("a file longer than the buffer has the digest of its bytes")
    func streaming() throws {
        let folder = try TemporaryFolder()
        let bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000 + (1 << 20))
        let path = try folder.write("a", bytes)
        #expect(try FileDigest.sha256(ofFile: path) == FileDigest.sha256(of: bytes))
        // FIPS 180-2's third example: a million times "a".
        #expect(
            FileDigest.sha256(of: Array(bytes.prefix(1_000_000)))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("a missing file is named")
    func missing() {
        #expect(throws: FileError.missingFile(path: "/nowhere/x")) {
            try FileDigest.sha256(ofFile: "/nowhere/x")
        }
    }
}
