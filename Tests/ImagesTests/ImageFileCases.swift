// SPDX-License-Identifier: Apache-2.0
// The image files of Tests/Fixtures/make_image_fixtures.py with Pillow's pixels, and what reading bytes ends in.

import Foundation
import TestKit
import Testing

@testable import Images

/// One file of images.json.
struct ImageFileCase: Decodable, CustomTestStringConvertible {
    let name: String
    private let file, pixels: Data
    let width, height: Int

    /// The contents of the file.
    var bytes: [UInt8] { [UInt8](file) }
    /// Pillow's upright image, `[height, width, 3]`.
    var interleaved: [UInt8] { [UInt8](pixels) }
    var testDescription: String { name }

    static func all() throws -> [ImageFileCase] { try fixture("images", in: .module) }

    static func named(_ name: String) throws -> ImageFileCase { try #require(try all().first { $0.name == name }) }
}

/// The error of reading a file with these bytes; nil if it is read.
func readingError(_ bytes: [UInt8], limit: Int = ImageFile.maximumPixels) -> ImageFileError? {
    do throws(ImageFileError) {
        _ = try ImageFile.decode(bytes, name: "image", maximumPixels: limit)
        return nil
    } catch {
        return error
    }
}
