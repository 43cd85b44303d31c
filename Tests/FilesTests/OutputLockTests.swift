// SPDX-License-Identifier: Apache-2.0
// Two runs with one output: the second is refused, whatever became of earlier runs.

import Foundation
import TestKit
import Testing

@testable import Files

@Suite struct OutputLockTests {
    @Test("an output is locked until its lock is released, which leaves no file")
    func exclusive() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        var lock: OutputLock? = try OutputLock(path)
        #expect(throws: FileError.inUse(path: path)) { try OutputLock(path) }
        _ = try OutputLock(folder.file("b.h5"))
        #expect(folder.names == ["a.h5.lock"])
        withExtendedLifetime(lock) {}
        lock = nil
        #expect(folder.names.isEmpty)
        _ = try OutputLock(path)
    }

    @Test("the lock file of a killed process locks nothing, and is removed by the next run")
    func killed() async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
            let lock = try OutputLock(path)
            withExtendedLifetime(lock) { _ = kill(getpid(), SIGKILL) }
        }
        #expect(folder.names == ["a.h5.lock"])
        _ = try OutputLock(path)
        #expect(folder.names.isEmpty)
    }

    @Test("all spellings of a path have one lock")
    func spellings() throws {
        let folder = try TemporaryFolder()
        try folder.write("sub/b.h5", "")
        try FileManager.default.createSymbolicLink(atPath: folder.file("link"), withDestinationPath: "sub")
        let lock = try OutputLock(folder.file("sub/a.h5"))
        for path in ["sub/../sub/a.h5", "link/a.h5", "sub//a.h5", "sub/./a.h5/"].map(folder.file) {
            #expect(throws: FileError.inUse(path: path)) { try OutputLock(path) }
        }
        withExtendedLifetime(lock) {}
    }

    @Test("a file, folder or link with the name of the lock is kept and refused")
    func otherFiles() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5"), lockPath = path + ".lock"
        func refuses() { #expect(throws: FileError.notALock(path: lockPath)) { try OutputLock(path) } }
        try folder.write("a.h5.lock", "text")
        refuses()
        #expect(try folder.bytes("a.h5.lock") == Array("text".utf8))
        try FileManager.default.removeItem(atPath: lockPath)
        try FileManager.default.createDirectory(atPath: lockPath, withIntermediateDirectories: true)
        refuses()
        try FileManager.default.removeItem(atPath: lockPath)
        try FileManager.default.createSymbolicLink(atPath: lockPath, withDestinationPath: "elsewhere")
        refuses()
        #expect(folder.names == ["a.h5.lock"])
    }

    @Test("a lock file that has got content is kept")
    func writtenLock() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        var lock: OutputLock? = try OutputLock(path)
        try folder.write("a.h5.lock", "text")
        withExtendedLifetime(lock) {}
        lock = nil
        #expect(try folder.bytes("a.h5.lock") == Array("text".utf8))
    }

    @Test("a folder that does not exist has no lock")
    func missingFolder() throws {
        let path = try TemporaryFolder().file("nowhere/a.h5")
        #expect(throws: FileError.cannotCreate(path: path + ".lock", code: ENOENT)) { try OutputLock(path) }
    }
}
