// SPDX-License-Identifier: Apache-2.0
// PNG files of all kinds against Pillow's pixels, damaged files, and chunks of text. Files and pixels come from
// Tests/Fixtures/make_image_fixtures.py.

import Files
import Foundation
import TestKit
import Testing

@testable import Images

/// The files of png.json.
struct PNGCases: Decodable {
    struct Case: Decodable {
        let name: String
        let file, pixels: Data
        var width, height: Int?
    }
    let width, height: Int
    let cases: [Case]

    static func all() throws -> PNGCases { try fixture("png", in: .module) }
}

@Suite struct PNGReadingTests {
    private let image = RGBImage(width: 5, height: 4, pixels: (0..<60).map { Float($0) / 59 })

    private func isDamaged(_ error: ImageFileError?) -> Bool {
        if case .damaged(_, .png, let message)? = error { !message.isEmpty } else { false }
    }

    @Test("a chunk before the pixels that is longer than the file is not allocated")
    func longChunk() throws {
        var bytes = try PNGFile.encode(image)
        // After the signature and the header chunk: a text of 2 GiB - 1.
        bytes.insert(contentsOf: [0x7F, 0xFF, 0xFF, 0xFF] + Array("tEXt".utf8) + [1, 2, 3], at: 33)
        #expect(readingError(bytes) == .truncated(file: "image", format: .png))
    }

    @Test("all color types, depths and interlacing have Pillow's pixels", .tags(.golden))
    func parity() throws {
        let document = try PNGCases.all()
        #expect(document.cases.count == 35)
        for file in document.cases {
            let image = try ImageFile.decode([UInt8](file.file), name: file.name)
            #expect(image.width == file.width ?? document.width && image.height == file.height ?? document.height)
            #expect(image.interleaved == [UInt8](file.pixels), "\(file.name)")
        }
    }

    @Test("a written file is read with the same pixels")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.png")
        try PNGFile.write(image, to: path)
        #expect(try ImageFile.read(path).interleaved == image.interleaved)
    }

    @Test("damaged files are errors: each truncation, and each changed byte of header and pixels")
    func damaged() throws {
        let bytes = try PNGFile.encode(image)
        // The last chunk, IEND, has 12 bytes and no pixels.
        for count in 8..<bytes.count - 12 {
            let error = readingError(Array(bytes.prefix(count)))
            #expect(error == .truncated(file: "image", format: .png), "\(count) bytes")
        }
        for offset in 16..<33 {
            var changed = bytes
            changed[offset] ^= 0x01
            #expect(isDamaged(readingError(changed)), "byte \(offset)")
        }
        let data = try #require(bytes.indices.first { bytes[$0...].starts(with: "IDAT".utf8) })
        for offset in data + 4..<bytes.count - 16 {
            var changed = bytes
            changed[offset] ^= 0x10
            #expect(isDamaged(readingError(changed)), "byte \(offset)")
        }
    }

    @Test("texts are stored as Latin-1 where they can be, else as UTF-8, and pixels stay")
    func text() throws {
        let parameters = "a cat\nSteps: 20, Sampler: Euler a"
        let bytes = try PNGFile.encode(
            image, text: [("parameters", parameters), ("café", "naïve"), ("Title", "猫 😀"), ("nul", "\0")])
        #expect(try ImageFile.decode(bytes, name: "image.png").interleaved == image.interleaved)
        let chunks = self.chunks(bytes)
        #expect(chunks.map(\.type) == ["IHDR", "tEXt", "tEXt", "iTXt", "tEXt", "sRGB", "IDAT", "IEND"])
        #expect(chunks[1].content == Array("parameters\0\(parameters)".utf8))
        #expect(chunks[2].content == Array("caf".utf8) + [0xE9, 0] + Array("na".utf8) + [0xEF] + Array("ve".utf8))
        #expect(chunks[3].content == Array("Title\0\0\0\0\0猫 😀".utf8))
        #expect(chunks[4].content == Array("nul\0 ".utf8))
        #expect(chunks.filter { !$0.isIntact }.isEmpty)
    }

    private func chunks(_ bytes: [UInt8]) -> [(type: String, content: [UInt8], isIntact: Bool)] {
        func number(_ offset: Int) -> UInt32 { bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) } }
        var chunks: [(type: String, content: [UInt8], isIntact: Bool)] = []
        var offset = 8
        while offset + 12 <= bytes.count {
            let count = Int(number(offset)), end = offset + 8 + count
            chunks.append(
                (
                    String(decoding: bytes[offset + 4..<offset + 8], as: UTF8.self), Array(bytes[offset + 8..<end]),
                    CRC32.checksum(of: Array(bytes[offset + 4..<end])) == number(end)
                ))
            offset = end + 4
        }
        return chunks
    }
}
