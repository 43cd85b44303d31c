// SPDX-License-Identifier: Apache-2.0
// What can go wrong when image files are read.

import Files

/// Why a file cannot be read as an image.
public enum ImageFileError: CategorizedError, Equatable {
    /// The file is of another kind.
    case notAnImage(file: String, found: FileKind)
    /// The image has more pixels than the limit.
    case tooLarge(file: String, width: Int, height: Int, limit: Int)
    /// The file ends before its last pixels.
    case truncated(file: String, format: ImageFormat)
    /// The file is damaged; the decoder's message.
    case damaged(file: String, format: ImageFormat, message: String)
    /// The file is of a rare variant of its format.
    case unsupported(file: String, format: ImageFormat, feature: String)

    init(_ fault: ImageFault, file: String, format: ImageFormat) {
        self =
            switch fault {
            case .truncated: .truncated(file: file, format: format)
            case .damaged(let message): .damaged(file: file, format: format, message: message)
            case .unsupported(let feature): .unsupported(file: file, format: format, feature: feature)
            }
    }

    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .notAnImage(let file, let found):
            FileError.wrongKind(path: file, expected: .image, found: found).description
        case .tooLarge(let file, let width, let height, let limit):
            "\(file): \(width)x\(height) pixels: expected at most \(limit) pixels; scale the image down"
        case .truncated(let file, let format):
            "\(file): truncated \(format.rawValue) image; copy or export it again"
        case .damaged(let file, let format, let message):
            "\(file): damaged \(format.rawValue) image: \(message); copy or export it again"
        case .unsupported(let file, let format, let feature):
            "\(file): \(format.rawValue) image with \(feature), which is not supported; convert it to PNG"
        }
    }
}

/// What a decoder finds wrong. `ImageFileError` adds the file and the format.
enum ImageFault: Error {
    case truncated
    case damaged(String)
    case unsupported(String)
}
