// SPDX-License-Identifier: Apache-2.0
// Collections of images and captions that cannot be read, with their texts.

import Files

/// A fault of a collection, or of one of its samples.
public enum ImageTextError: Error, Equatable, Sendable {
    /// The folder holds neither images with captions nor tar files.
    case noSamples(path: String)
    /// No image has a caption.
    case noCaptions(folder: String, images: Int)
    /// A folder has metadata files of both kinds.
    case twoKinds(first: String, second: String)
    /// A line of a metadata file, 1 is the first, cannot be used.
    case metadata(file: String, line: Int, reason: String)
    /// A metadata file lacks a column; `found` are those that it has.
    case missingColumn(file: String, column: String, found: [String])
    /// A path leads out of the folder.
    case outside(file: String, line: Int, path: String)
    /// A link leads out of the folder.
    case linkOutside(path: String)
    /// An image that a metadata file names does not exist.
    case missingImage(file: String, line: Int, path: String)
    /// A sample of a tar file has no image or caption; `fields` are those that it has.
    case missingField(sample: String, expected: String, fields: [String])
    /// A file that is too large to be an image.
    case tooLarge(path: String, bytes: Int)
    /// A tar file is damaged or ends too early.
    case damagedTar(path: String, reason: String)
    /// An image cannot be read.
    case unreadable(FileError)
}

extension ImageTextError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noSamples, .missingImage: .inputMissing
        case .unreadable(let error): error.category
        default: .badData
        }
    }

    public var description: String {
        switch self {
        case .noSamples(let path):
            "\(path): no images (\(listed(imageExtensions))) and no tar files; give a folder of images with captions, "
                + "or of webdataset tar files"
        case .noCaptions(let folder, let images):
            "\(folder): \(images) images, but no captions; add metadata.jsonl with \"file_name\" and \"text\", or a "
                + ".txt file beside each image"
        case .twoKinds(let first, let second):
            "\(first): metadata of two kinds, here and in \(second); remove one of them"
        case .metadata(let file, let line, let reason):
            "\(file):\(line): \(reason)"
        case .missingColumn(let file, let column, let found):
            "\(file): column \(column): missing; found \(listed(found))"
                + (column == "file_name" ? "" : "; name another one with --caption-column")
        case .outside(let file, let line, let path):
            "\(file):\(line): file_name \(path): leads out of the folder; use paths below the metadata file's folder"
        case .linkOutside(let path):
            "\(path): a link that leads out of the folder; copy the file to the folder"
        case .missingImage(let file, let line, let path):
            "\(file):\(line): \(path): no such image"
        case .missingField(let sample, let expected, let fields):
            "\(sample): no \(expected) among its files: \(listed(fields))"
        case .tooLarge(let path, let bytes):
            "\(path): \(bytes) bytes: too large for an image"
        case .damagedTar(let path, let reason):
            "\(path): damaged tar file: \(reason); copy or download it again"
        case .unreadable(let error):
            error.description
        }
    }
}
