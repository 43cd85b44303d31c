// SPDX-License-Identifier: Apache-2.0
// Folders that appear at once, or replace others at once.

import Foundation
import TestKit
import Testing

@testable import Files

@Suite struct PendingFolderTests {
    private func write(_ name: String, _ text: String, to folder: PendingFolder) throws {
        let path = folder.path + "/" + name
        try FileManager.default.createDirectory(
            atPath: PathParts(path).folder, withIntermediateDirectories: true)
        try AtomicFile.write(text, to: path)
    }

    private func names(_ folder: TemporaryFolder, _ name: String) throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: folder.file(name)).sorted()
    }

    @Test("a new folder appears with all its files, and does not appear without a commit")
    func new() throws {
        let folder = try TemporaryFolder()
        for isComplete in [false, true] {
            do {
                let pending = try PendingFolder(folder.file("out/"))
                try write("unet/a.txt", "a", to: pending)
                #expect(!folder.names.contains("out") && folder.names.count == 1)
                if isComplete { try pending.commit() }
            }
            #expect(folder.names == (isComplete ? ["out"] : []))
        }
        #expect(try names(folder, "out") == ["unet", "unet/a.txt"])
    }

    @Test("an existing folder is exchanged, or its files are replaced; others are kept", arguments: [true, false])
    func replaced(exchanges: Bool) throws {
        let folder = try TemporaryFolder()
        for name in ["unet/a.txt", "unet/kept/b.txt", ".hidden", "unet/old.txt"] {
            try folder.write("out/" + name, "old")
        }
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("out/link"), withDestinationPath: "unet/kept/b.txt")
        try #require(chmod(folder.file("out"), 0o750) == 0)
        for isComplete in [false, true] {
            do {
                let pending = try PendingFolder(folder.file("out"), exchanges: exchanges)
                try write("unet/a.txt", "new", to: pending)
                try write("index.json", "new", to: pending)
                #expect(try folder.bytes("out/unet/a.txt") == Array("old".utf8))
                if isComplete { try pending.commit(removing: ["unet/old.txt", "unet/missing.txt"]) }
            }
            #expect(folder.names == ["out"])
            let added = isComplete ? "index.json" : "unet/old.txt"
            #expect(
                try names(folder, "out")
                    == (["unet", "unet/a.txt", "unet/kept", "unet/kept/b.txt", ".hidden", "link"] + [added]).sorted())
            #expect(try folder.bytes("out/unet/a.txt") == Array((isComplete ? "new" : "old").utf8))
            #expect(try folder.bytes("out/link") == Array("old".utf8))
        }
        var status = stat()
        #expect(stat(folder.file("out"), &status) == 0 && status.st_mode & 0o777 == 0o750)
    }

    @Test("a link to a folder then refers to the new one")
    func link() throws {
        let folder = try TemporaryFolder()
        try folder.write("real/a.txt", "old")
        try FileManager.default.createSymbolicLink(atPath: folder.file("link"), withDestinationPath: "real")
        let pending = try PendingFolder(folder.file("link"))
        try write("a.txt", "new", to: pending)
        try pending.commit()
        #expect(folder.names == ["link", "real"])
        #expect(try folder.bytes("real/a.txt") == Array("new".utf8))
    }

    @Test("folders of killed processes are removed, those of living ones are not")
    func stale() throws {
        let folder = try TemporaryFolder()
        let ended = Process()
        ended.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        ended.arguments = ["true"]
        try ended.run()
        ended.waitUntilExit()
        let dead = ended.processIdentifier
        for name in ["out.tmp-\(dead)/a", "out/.tmp-\(dead)/a", "out.tmp-1/a", "out.tmp-x/a"] {
            try folder.write(name, "a")
        }
        let pending = try PendingFolder(folder.file("out"))
        try pending.commit()
        #expect(folder.names == ["out", "out.tmp-1", "out.tmp-x"])
        #expect(try names(folder, "out").isEmpty)
    }

    @Test("a folder without a parent, at the path of a file, or without a name, cannot be created")
    func faults() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("file", "")
        for (path, code) in [(folder.file("x/y"), ENOENT), (file, EEXIST), ("", ENOENT)] {
            #expect(throws: FileError.cannotCreate(path: path, code: code)) { try PendingFolder(path) }
        }
        let pending = try PendingFolder(folder.file("out"))
        let inner = pending.path + "/unet/a.txt"
        #expect(throws: FileError.cannotCreate(path: folder.file("out/unet/a.txt"), code: ENOENT)) {
            try pending.naming { try PendingFile(inner) }
        }
    }
}
