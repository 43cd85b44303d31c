// SPDX-License-Identifier: Apache-2.0
// Collections of images with captions, as people have them on disks: a folder (Hugging Face's "imagefolder", or images
// with text files beside them), and tar files (webdataset, img2dataset). Both are read by one iterator. An image is
// read as bytes; decoding is up to the caller.

import Files

/// An image that is not decoded yet, with its captions.
public struct ImageTextSample: Equatable, Sendable {
    /// Identifies the image in its collection: its path below the folder, or tar file and name before the first dot.
    public let key: String
    /// One or more; of several, training chooses one at random.
    public let captions: [String]
    /// The bytes of the image file, or why there are none: such samples are counted and skipped.
    public let image: Result<[UInt8], ImageTextError>

    public init(key: String, captions: [String], image: Result<[UInt8], ImageTextError>) {
        self.key = key
        self.captions = captions
        self.image = image
    }
}

/// A collection of images with captions. The order of its samples depends on nothing but names and contents of files.
public protocol ImageTextSource: Sendable {
    /// Number of samples, those without an image included.
    var count: Int { get }
    /// What the collection holds that is not used, for a warning.
    var omitted: [OmittedFiles] { get }
    /// Calls `body` with the samples from the one at `index` on, in order, until `body` returns false.
    ///
    /// - Throws: `ImageTextError`, `FileError`, and the error of `body`.
    func read(from index: Int, _ body: (ImageTextSample) throws -> Bool) throws
}

/// Files of one kind that are not used.
public struct OmittedFiles: Equatable, Sendable {
    public let count: Int
    /// The first of them.
    public let example: String
    public let reason: String
}

/// The file names of images that are read.
let imageExtensions = ["png", "jpg", "jpeg", "webp"]

/// Opens the collection at `path`: a folder of images, one tar file, or a folder of tar files.
///
/// - Parameters:
///   - path: the folder or tar file.
///   - captionColumn: the column or JSON key of captions in metadata files.
/// - Returns: the collection.
/// - Throws: `FileError`, `ImageTextError`, `JSONError`.
public func openImageText(_ path: String, captionColumn: String = "text") throws -> any ImageTextSource {
    guard try FileInspection(path).kind == .folder else {
        return try TarImageText([path], captionColumn: captionColumn)
    }
    let files = try FolderListing(path).files
    let isTar = { (file: String) in [".tar", ".tar.gz", ".tgz"].contains { file.hasSuffix($0) } }
    let tars = files.filter(isTar)
    if !tars.isEmpty, !files.contains(where: FolderListing.isImage) {
        return try TarImageText(tars.map { path + "/" + $0 }, captionColumn: captionColumn)
    }
    return try FolderImageText(path, files: files, captionColumn: captionColumn)
}

/// SHA-256 of the names and sizes of the files at `path`, which tells whether a collection has changed.
///
/// - Parameter path: a folder, or one file.
/// - Returns: 64 hexadecimal digits.
/// - Throws: `FileError`, `ImageTextError.linkOutside`.
public func imageTextDigest(_ path: String) throws -> String {
    let root = try FileInspection(path)
    guard root.kind == .folder else {
        return FileDigest.sha256(of: Array("\(PathParts(path).name)\t\(root.size)".utf8))
    }
    let lines = try FolderListing(path).files.map { "\($0)\t\(try FileInspection(path + "/" + $0).size)\n" }
    return FileDigest.sha256(of: Array(lines.joined().utf8))
}
