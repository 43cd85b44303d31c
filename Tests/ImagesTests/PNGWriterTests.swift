// SPDX-License-Identifier: Apache-2.0
//
// PNG files on disk.

import Checkpoints
import Files
import Foundation
import Testing

@testable import Images
@testable import ShapesWorld

@Suite struct PNGWriterTests {
    private let image = ShapesDataset(seed: 1).sample(at: 0).image

    @Test("the file holds the encoded bytes, replaces an older one, and leaves no other file behind")
    func write() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("png-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("image.png").path

        try Data("old".utf8).write(to: URL(fileURLWithPath: path))
        try PNGWriter.write(image, to: path)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(PNGEncoder.encode(image)))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["image.png"])
    }

    @Test("a missing folder is an error that names the path")
    func missingFolder() {
        #expect {
            try PNGWriter.write(image, to: "/nonexistent-folder/image.png")
        } throws: { error in
            guard case .cannotCreate(let path, _) = error as? FileError else { return false }
            return path == "/nonexistent-folder/image.png"
        }
    }
}
