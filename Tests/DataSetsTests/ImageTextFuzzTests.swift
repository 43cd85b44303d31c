// SPDX-License-Identifier: Apache-2.0
// Damaged tar files and metadata files give errors or samples, never a crash; `make fuzz` runs these tests with
// sanitizers.

import Files
import Foundation
import TestKit
import Testing

@testable import DataSets

@Suite struct ImageTextFuzzTests {
    private static let errors: [any CategorizedError.Type] = [FileError.self, ImageTextError.self, JSONError.self]

    /// Reads everything below `path`.
    private func read(_ path: String) throws {
        let source = try openImageText(path)
        var count = 0
        try source.read(from: 0) { sample in
            count += 1
            #expect(!sample.captions.isEmpty)
            return true
        }
        #expect(count == source.count)
    }

    @Test("damaged tar files give errors or samples", arguments: ["pax.tar", "gnu.tar.gz", "ustar.tar"])
    func tarFiles(name: String) throws {
        let folder = try TemporaryFolder()
        let path = try #require(Bundle.module.path(forResource: "Fixtures/tars/\(name)", ofType: nil))
        let sound = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let headers = name.hasSuffix(".gz") ? [] : TarHeaders.offsets(in: sound)
        let refused = fuzz(300, seed: 11, share: 1 / 3, errors: Self.errors) { mutator in
            var damaged = mutator.bytes(sound, head: 2048)
            // With wrong checksums only, no reader gets beyond the first damaged header.
            if !mutator.oneIn(4) { TarHeaders.correctChecksums(of: &damaged, at: headers) }
            try read(folder.write("a.tar", damaged))
        }
        #expect(refused > 0.05)
    }

    @Test("tar files with random attributes of the pax format give errors or samples")
    func paxAttributes() throws {
        let folder = try TemporaryFolder()
        fuzz(300, seed: 12, errors: Self.errors) { mutator in
            var file: [UInt8] = []
            for name in ["1.jpg", "1.txt", "2.json", "2.png"] {
                let records = (0..<Int.random(in: 0...3, using: &mutator.random)).map { _ in
                    Self.record(mutator.element(Self.keys), mutator.element(Self.values))
                }.joined()
                if !records.isEmpty {
                    file += TarHeaders.member("pax", kind: mutator.element(["x", "x", "g"]), Array(records.utf8))
                }
                file += TarHeaders.member(name, kind: "0", mutator.random.bytes(700))
            }
            try read(folder.write("a.tar", file + [UInt8](repeating: 0, count: 1024)))
        }
    }

    private static let keys = [
        "size", "path", "linkpath", "mtime", "hdrcharset", "GNU.sparse.realsize", "GNU.sparse.size",
        "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.map", "GNU.sparse.name", "GNU.sparse.numblocks",
        "GNU.sparse.offset", "GNU.sparse.numbytes", "SCHILY.realsize", "LIBARCHIVE.xattr.a",
    ]
    private static let values = [
        "0", "1", "-1", "-700", "700", "1048577", "9223372036854775807", "-9223372036854775808", "99999999999999999999",
        "", "0,1", "0,700", "1,-1", "9223372036854775807,1", "a/b.txt", "..", "BINARY", "1.5", "é",
    ]

    /// `LENGTH KEY=VALUE` and a line break; the length counts itself.
    private static func record(_ key: String, _ value: String) -> String {
        let rest = " \(key)=\(value)\n"
        var length = rest.utf8.count
        while "\(length)".utf8.count + rest.utf8.count != length { length = "\(length)".utf8.count + rest.utf8.count }
        return "\(length)" + rest
    }

    @Test(
        "damaged metadata files give errors or samples",
        arguments: [
            (
                "metadata.jsonl",
                """
                {"file_name": "a.png", "text": "a cat", "width": 3.5}

                {"file_name": "./sub/b.jpg", "text": ["one", "two \\u00e9"], "other": {"deep": [1, null]}}
                """
            ),
            ("metadata.csv", "file_name,text,width\r\na.png,\"a, \"\"b\"\"\r\nc\",3\r\nsub/b.jpg,é 🐱,\r\n"),
        ])
    func metadata(name: String, sound: String) throws {
        let folder = try TemporaryFolder()
        for image in ["a.png", "sub/b.jpg"] { try folder.write(image, image) }
        let refused = fuzz(500, seed: 13, errors: Self.errors) { mutator in
            try folder.write(name, mutator.text(sound))
            try read(folder.path)
        }
        #expect(refused > 0.05 && refused < 1)
    }
}

/// Headers of tar files: 512 bytes before the content of each member, which is padded to a multiple of 512.
private enum TarHeaders {
    private static let block = 512
    private static let checksum = 148..<156

    /// The positions of the headers of a sound file.
    static func offsets(in file: [UInt8]) -> [Int] {
        var (offsets, offset) = ([Int](), 0)
        while offset + block <= file.count, file[offset] != 0 {
            offsets.append(offset)
            let digits = file[offset + 124..<offset + 135].filter { $0 != 0 && $0 != UInt8(ascii: " ") }
            let size = Int(String(decoding: digits, as: UTF8.self), radix: 8) ?? 0
            offset += block + (size + block - 1) / block * block
        }
        return offsets
    }

    static func correctChecksums(of file: inout [UInt8], at offsets: [Int]) {
        for offset in offsets where offset + block <= file.count {
            // The field itself counts as blanks.
            for index in checksum { file[offset + index] = UInt8(ascii: " ") }
            let sum = file[offset..<offset + block].reduce(0) { $0 + Int($1) }
            write(sum, digits: 6, to: &file, at: offset + checksum.lowerBound)
            file[offset + checksum.lowerBound + 6] = 0
        }
    }

    /// A member of the POSIX format.
    static func member(_ name: String, kind: Character, _ content: [UInt8]) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: block)
        header.replaceSubrange(0..<name.utf8.count, with: Array(name.utf8))
        write(0o644, digits: 7, to: &header, at: 100)
        write(content.count, digits: 11, to: &header, at: 124)
        write(0, digits: 11, to: &header, at: 136)
        header[156] = kind.asciiValue ?? 0
        header.replaceSubrange(257..<265, with: Array("ustar\u{0}00".utf8))
        correctChecksums(of: &header, at: [0])
        return header + content + [UInt8](repeating: 0, count: (block - content.count % block) % block)
    }

    private static func write(_ number: Int, digits: Int, to bytes: inout [UInt8], at offset: Int) {
        let text = String(number, radix: 8)
        let padded = String(repeating: "0", count: max(digits - text.count, 0)) + text
        bytes.replaceSubrange(offset..<offset + padded.utf8.count, with: Array(padded.utf8))
    }
}
