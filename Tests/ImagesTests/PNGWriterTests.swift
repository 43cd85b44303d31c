// SPDX-License-Identifier: Apache-2.0
//
// PNG files on disk.

import Checkpoints
import Files
import Foundation
import TestKit
import Testing

@testable import Images
@testable import ShapesWorld

@Suite struct PNGWriterTests {
    private let image = ShapesDataset(seed: 1).sample(at: 0).image

    @Test("the file holds the encoded bytes, replaces an older one, and leaves no other file behind")
    func write() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("image.png", "old")
        try PNGWriter.write(image, to: path)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(PNGEncoder.encode(image)))
        #expect(folder.names == ["image.png"])
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
