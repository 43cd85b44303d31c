// SPDX-License-Identifier: Apache-2.0
// What can go wrong with PNG files.

import Files

/// Why an image cannot be written as PNG or a file cannot be read as one.
public enum PNGError: CategorizedError, Equatable {
    /// libpng failed for an image of this size with this message.
    case encoding(width: Int, height: Int, message: String)
    /// The file is of another kind.
    case notPNG(file: String, found: FileKind)
    /// The image has more pixels than the limit.
    case tooLarge(file: String, width: Int, height: Int, limit: Int)
    /// The file is damaged; libpng's message.
    case damaged(file: String, message: String)

    public var category: ErrorCategory {
        if case .encoding = self { .internalError } else { .badData }
    }

    public var description: String {
        switch self {
        case .encoding(let width, let height, let message):
            "PNG of \(width)x\(height) pixels: libpng: \(message); write a smaller image"
        case .notPNG(let file, let found):
            FileError.wrongKind(path: file, expected: .png, found: found).description
        case .tooLarge(let file, let width, let height, let limit):
            "\(file): \(width)x\(height) pixels: expected at most \(limit) pixels; scale the image down"
        case .damaged(let file, let message):
            "\(file): damaged PNG image: \(message); copy or export it again"
        }
    }
}
