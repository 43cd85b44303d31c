// SPDX-License-Identifier: Apache-2.0
// Images with captions in folders and tar files, and collections that are refused.
// Fixtures: python Tests/Fixtures/make_tar_fixtures.py

import Files
import Foundation
import TestKit
import Testing

@testable import DataSets

/// A sample as the tests write it: key, captions, and the image's bytes as text, nil without an image.
private struct Read: Equatable {
    let key: String
    let captions: [String]
    let image: String?

    init(_ key: String, _ captions: [String], _ image: String?) {
        (self.key, self.captions, self.image) = (key, captions, image)
    }

    init(_ sample: ImageTextSample) {
        self.init(
            sample.key, sample.captions, (try? sample.image.get()).map { String(decoding: $0, as: UTF8.self) })
    }
}

extension ImageTextSource {
    fileprivate func samples(from index: Int = 0, limit: Int = .max) throws -> [ImageTextSample] {
        var found: [ImageTextSample] = []
        try read(from: index) { sample in
            found.append(sample)
            return found.count < limit
        }
        return found
    }
}

@Suite struct FolderImageTextTests {
    @Test("metadata.jsonl names images below its folder, with one caption or several, and a column of choice")
    func jsonLines() throws {
        let folder = try TemporaryFolder()
        for name in ["a.png", "sub/b.jpg", "sub/c.webp", "unused.png"] { try folder.write(name, name) }
        try folder.write("metadata.jsonl", "{\"file_name\": \"a.png\", \"text\": \" a red\\ncircle \", \"x\": 1}\n\n")
        try folder.write(
            "sub/metadata.jsonl",
            """
            {"file_name": "c.webp", "text": ["one", "two"]}
            {"file_name": "./b.jpg", "text": "b"}
            {"file_name": "missing.jpg", "text": "m"}
            """)
        let source = try openImageText(folder.path)
        let samples = try source.samples()
        #expect(source.count == 4)
        #expect(
            samples.map(Read.init) == [
                Read("a.png", ["a red circle"], "a.png"), Read("sub/c.webp", ["one", "two"], "sub/c.webp"),
                Read("sub/b.jpg", ["b"], "sub/b.jpg"), Read("sub/missing.jpg", ["m"], nil),
            ])
        #expect(
            samples[3].image
                == .failure(
                    .missingImage(
                        file: folder.file("sub/metadata.jsonl"), line: 3, path: folder.file("sub/missing.jpg"))))
        #expect(source.omitted.map(\.example) == [folder.file("unused.png")])
        #expect(try source.samples(from: 1, limit: 2) == Array(samples[1..<3]))
        #expect(try source.samples(from: 4).isEmpty)

        try folder.write("metadata.jsonl", "{\"file_name\": \"a.png\", \"prompt\": \"p\"}")
        try FileManager.default.removeItem(atPath: folder.file("sub"))
        #expect(
            try openImageText(folder.path, captionColumn: "prompt").samples().map(Read.init)
                == [Read("a.png", ["p"], "a.png")])
    }

    @Test("metadata.csv has quoted texts with commas, quotes and line breaks")
    func commaSeparated() throws {
        let folder = try TemporaryFolder()
        for name in ["1.png", "2.PNG"] { try folder.write(name, name) }
        try folder.write("metadata.csv", "file_name,text\r\n1.png,\"a, \"\"b\"\"\r\nc\"\r\n2.PNG,é 🐱\r\n")
        #expect(
            try openImageText(folder.path).samples().map(Read.init) == [
                Read("1.png", ["a, \"b\" c"], "1.png"), Read("2.PNG", ["é 🐱"], "2.PNG"),
            ])
    }

    @Test("without metadata, a text file beside an image is its caption")
    func captionFiles() throws {
        let folder = try TemporaryFolder()
        for name in ["b.png", "a/x.y.jpg", "alone.png", ".hidden/z.png"] { try folder.write(name, name) }
        try folder.write("b.caption", [0xEF, 0xBB, 0xBF] + Array("b\n".utf8))
        try folder.write("a/x.y.txt", "x")
        try folder.write(".hidden/z.txt", "z")
        let source = try openImageText(folder.path)
        #expect(
            try source.samples().map(Read.init) == [
                Read("a/x.y.jpg", ["x"], "a/x.y.jpg"), Read("b.png", ["b"], "b.png"),
            ]
        )
        #expect(source.omitted.map(\.count) == [1])
    }

    @Test(
        "paths out of the folder are refused",
        arguments: ["/etc/passwd", "../a.png", "sub/../../a.png", "file:///a.png", "C:\\\\a.png", ""])
    func outside(path: String) throws {
        let folder = try TemporaryFolder()
        try folder.write("a.png", "a")
        let file = try folder.write("metadata.jsonl", "{\"file_name\": \"\(path)\", \"text\": \"x\"}")
        let name = path.replacingOccurrences(of: "\\\\", with: "\\")
        #expect(throws: ImageTextError.outside(file: file, line: 1, path: name)) { try openImageText(folder.path) }
    }

    @Test("links out of the folder are refused, links within it are followed")
    func links() throws {
        let folder = try TemporaryFolder(), other = try TemporaryFolder()
        try folder.write("a.png", "a")
        try folder.write("a.txt", "x")
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("b.png"), withDestinationPath: folder.file("a.png"))
        try folder.write("b.txt", "y")
        #expect(try openImageText(folder.path).samples().map(Read.init).map(\.image) == ["a", "a"])
        let target = try other.write("secret.png", "s")
        let link = folder.file("c.png")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
        #expect(throws: ImageTextError.linkOutside(path: link)) { try openImageText(folder.path) }
    }

    @Test("folders and metadata that cannot be used are named with file and line")
    func faults() throws {
        let folder = try TemporaryFolder()
        #expect(throws: ImageTextError.noSamples(path: folder.path)) { try openImageText(folder.path) }
        try folder.write("a.png", "a")
        #expect(throws: ImageTextError.noCaptions(folder: folder.path, images: 1)) { try openImageText(folder.path) }
        func expect(_ name: String, _ text: String, _ error: ImageTextError) throws {
            try folder.write(name, text)
            #expect(throws: error) { try openImageText(folder.path) }
            try FileManager.default.removeItem(atPath: folder.file(name))
        }
        let (lines, table) = (folder.file("metadata.jsonl"), folder.file("metadata.csv"))
        try expect(
            "metadata.jsonl", "\n{\"file_name\": \"a.png\"}",
            .metadata(file: lines, line: 2, reason: "key text: missing; found file_name"))
        try expect(
            "metadata.jsonl", "{\"file_name\": \"a.png\", \"text\": []}",
            .metadata(file: lines, line: 1, reason: "text: expected a text or a list of texts"))
        try expect(
            "metadata.csv", "name,text\na.png,x\n",
            .missingColumn(file: table, column: "file_name", found: ["name", "text"]))
        try expect(
            "metadata.csv", "file_name,text\na.png,x,y\n",
            .metadata(
                file: table, line: 2, reason: "expected 2 columns, found 3; put texts with commas in quotes"))
        try folder.write("metadata.jsonl", "{")
        #expect(throws: JSONError.self) { try openImageText(folder.path) }
        try folder.write("metadata.csv", "file_name,text\n")
        #expect(throws: ImageTextError.twoKinds(first: table, second: lines)) { try openImageText(folder.path) }
        #expect(throws: FileError.missingFile(path: folder.file("x"))) { try openImageText(folder.file("x")) }
    }
}

@Suite struct TarImageTextTests {
    private static func path(_ name: String) throws -> String {
        try #require(Bundle.module.path(forResource: "Fixtures/tars/\(name)", ofType: nil))
    }

    private static let long = String(repeating: "a", count: 120) + "/" + String(repeating: "b", count: 130)

    @Test("samples are adjacent members with one name before the first dot", arguments: ["pax.tar", "gnu.tar.gz"])
    func samples(name: String) throws {
        let source = try openImageText(Self.path(name))
        let samples = try source.samples()
        #expect(source.count == samples.count)
        #expect(
            samples.map(Read.init) == [
                Read("\(name)/shard/000", ["a red circle"], "shard/000.jpg"),
                Read("\(name)/shard/001", ["a blue square"], "shard/001.png"),
                Read("\(name)/shard/002", ["one", "two"], "shard/002.webp"),
                Read("\(name)/shard/003", [""], nil),
                Read("\(name)/\(Self.long)", ["a long name"], "\(Self.long).jpg"),
                Read("\(name)/cat", ["a cat"], nil),
                Read("\(name)/apart", [""], nil), Read("\(name)/between", ["between"], "between.jpg"),
                Read("\(name)/apart", ["too late"], nil),
            ])
        guard case .failure(.missingField(_, _, let fields)) = samples[5].image else {
            Issue.record("cat.v2.jpg is an image of the field jpg")
            return
        }
        #expect(fields == ["v2.jpg", "txt"])
        for index in 0...samples.count {
            #expect(try source.samples(from: index) == Array(samples.dropFirst(index)), "from \(index)")
        }
        // Parts, also with gaps, again, and backward: the reading continues where it has stopped, or starts again.
        for (start, limit) in [(0, 2), (2, 3), (6, 1), (7, 1), (7, 1), (1, 4), (5, 4)] {
            let expected = Array(samples.dropFirst(start).prefix(limit))
            #expect(try source.samples(from: start, limit: limit) == expected, "\(limit) from \(start)")
        }
    }

    @Test("the tar files of a folder are read in the order of their names")
    func folderOfTars() throws {
        let folder = try TemporaryFolder()
        for name in ["1.tar", "0.tar"] {
            try FileManager.default.copyItem(atPath: Self.path("ustar.tar"), toPath: folder.file(name))
        }
        try folder.write("0_stats.json", "{}")
        let source = try openImageText(folder.path)
        #expect(source.count == 6)
        #expect(try source.samples(from: 2, limit: 2).map(\.key) == ["0.tar/2", "1.tar/0"])
        #expect(try source.samples().map(\.captions)[4] == ["caption 1"])
    }

    @Test("damaged tar files, and files that are no tar files, are named")
    func damaged() throws {
        let truncated = try Self.path("truncated.tar")
        let folder = try TemporaryFolder()
        let text = try folder.write("text.tar", "not a tar file")
        for path in [truncated, text] {
            let error = #expect(throws: ImageTextError.self) { try openImageText(path).samples() }
            guard case .damagedTar(let found, let reason)? = error else {
                Issue.record("\(path): \(String(describing: error))")
                continue
            }
            #expect(found == path && !reason.isEmpty)
        }
        #expect(throws: FileError.missingFile(path: folder.file("x.tar"))) { try openImageText(folder.file("x.tar")) }
    }

    @Test("names are divided at the first dot of their last part")
    func names() {
        #expect(SampleName("a.b/c.d.JPG").map { [$0.sample, $0.field] } == ["a.b/c", "d.jpg"])
        #expect(SampleName("x.jpg").map { [$0.sample, $0.field] } == ["x", "jpg"])
        #expect(SampleName("README") == nil && SampleName("a/.hidden.jpg") == nil)
    }
}
