// SPDX-License-Identifier: Apache-2.0
// A folder of images. Captions come from metadata files, as in Hugging Face's "imagefolder":
//
//     metadata.jsonl      {"file_name": "a/1.png", "text": "a cat"}       one object per line
//     metadata.csv        file_name,text                                  with a line of column names
//
// in the folder or in folders below it, with paths relative to the metadata file and a caption or a list of captions;
// or, without metadata files, from text files: `1.png` with `1.txt` or `1.caption`.

import Files
import Foundation
import SwiftCSV

/// Images of a folder with their captions.
public struct FolderImageText: ImageTextSource {
    private struct Entry {
        /// Below the folder.
        let path: String
        let captions: [String]
        /// Why there is no image.
        var fault: ImageTextError?
    }

    private let folder: String
    private let entries: [Entry]
    public let omitted: [OmittedFiles]

    public var count: Int { entries.count }

    /// Reads all metadata of the folder.
    ///
    /// - Parameters:
    ///   - folder: the folder.
    ///   - files: the files below it, as `FolderListing` lists them.
    ///   - captionColumn: the column of captions.
    /// - Throws: `FileError`, `ImageTextError`, `JSONError`.
    init(_ folder: String, files: [String], captionColumn: String) throws {
        self.folder = folder
        let images = files.filter(FolderListing.isImage)
        let metadata = files.filter { ["metadata.jsonl", "metadata.csv"].contains(PathParts($0).name) }
        guard !images.isEmpty || !metadata.isEmpty else { throw ImageTextError.noSamples(path: folder) }
        entries =
            try metadata.isEmpty
            ? Self.captionFiles(folder, images, Set(files))
            : Self.metadata(folder, metadata, Set(files), captionColumn)
        guard !entries.isEmpty else { throw ImageTextError.noCaptions(folder: folder, images: images.count) }
        let used = Set(entries.map(\.path))
        let unused = images.filter { !used.contains($0) }
        omitted =
            unused.first.map { first in
                [OmittedFiles(count: unused.count, example: folder + "/" + first, reason: "images without a caption")]
            } ?? []
    }

    public func read(from index: Int, _ body: (ImageTextSample) throws -> Bool) throws {
        for entry in entries.dropFirst(index) {
            let image = entry.fault.map { .failure($0) } ?? Self.bytes(folder + "/" + entry.path)
            guard try body(ImageTextSample(key: entry.path, captions: entry.captions, image: image)) else { return }
        }
    }

    private static func bytes(_ path: String) -> Result<[UInt8], ImageTextError> {
        do throws(FileError) {
            let size = try FileInspection(path).size
            guard size <= ImageTextLimits.imageBytes else { return .failure(.tooLarge(path: path, bytes: size)) }
            return .success([UInt8](try AtomicFile.read(path)))
        } catch {
            return .failure(.unreadable(error))
        }
    }

    // MARK: Captions

    private static func captionFiles(_ folder: String, _ images: [String], _ files: Set<String>) throws -> [Entry] {
        try images.compactMap { image in
            let stem = String(image.prefix(upTo: image.lastIndex(of: ".") ?? image.endIndex))
            guard let file = [".txt", ".caption"].map({ stem + $0 }).first(where: { files.contains($0) }) else {
                return nil
            }
            return Entry(path: image, captions: [try TextDocument.text(folder + "/" + file).trimmedLines])
        }
    }

    private static func metadata(
        _ folder: String, _ paths: [String], _ files: Set<String>, _ captionColumn: String
    ) throws -> [Entry] {
        if let other = paths.first(where: { PathParts($0).name != PathParts(paths[0]).name }) {
            throw ImageTextError.twoKinds(first: folder + "/" + paths[0], second: folder + "/" + other)
        }
        return try paths.flatMap { path in
            let file = folder + "/" + path
            let rows = try file.hasSuffix(".csv") ? csvRows(file, captionColumn) : jsonRows(file, captionColumn)
            let parent = String(path.dropLast(PathParts(path).name.count))
            return try rows.map { row in
                guard isInside(row.fileName) else {
                    throw ImageTextError.outside(file: file, line: row.line, path: row.fileName)
                }
                let image = parent + row.fileName.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
                return Entry(
                    path: image, captions: row.captions,
                    fault: files.contains(image)
                        ? nil : .missingImage(file: file, line: row.line, path: folder + "/" + image))
            }
        }
    }

    private struct Row {
        let line: Int
        let fileName: String
        let captions: [String]
    }

    /// No absolute paths, no `..`, no `scheme://`.
    private static func isInside(_ path: String) -> Bool {
        !path.isEmpty && !path.hasPrefix("/") && !path.contains("\\") && !path.contains("://")
            && !path.split(separator: "/", omittingEmptySubsequences: false).contains("..")
    }

    private static func jsonRows(_ file: String, _ captionColumn: String) throws -> [Row] {
        let lines = try TextDocument.text(file).split(omittingEmptySubsequences: false) { $0.isNewline }
        return try lines.enumerated().compactMap { index, text in
            if text.allSatisfy(\.isWhitespace) { return nil }
            let object = try JSONError.checkObject(String(text), file: file, document: "line \(index + 1)")
            let keys = object.members?.map(\.key) ?? []
            for column in ["file_name", captionColumn] where !keys.contains(column) {
                throw ImageTextError.metadata(
                    file: file, line: index + 1, reason: "key \(column): missing; found \(listed(keys))")
            }
            guard let name = object["file_name"]?.text else {
                throw ImageTextError.metadata(file: file, line: index + 1, reason: "file_name: expected a text")
            }
            guard let captions = object[captionColumn]?.captions else {
                throw ImageTextError.metadata(
                    file: file, line: index + 1, reason: "\(captionColumn): expected a text or a list of texts")
            }
            return Row(line: index + 1, fileName: name, captions: captions)
        }
    }

    private static func csvRows(_ file: String, _ captionColumn: String) throws -> [Row] {
        let table: CSV<Enumerated>
        do {
            table = try CSV<Enumerated>(string: TextDocument.text(file), delimiter: .comma, loadColumns: false)
        } catch let error as CSVParseError {
            throw ImageTextError.metadata(file: file, line: 1, reason: "not a CSV table: \(error)")
        }
        func column(_ name: String) throws -> Int {
            guard let index = table.header.firstIndex(of: name) else {
                throw ImageTextError.missingColumn(file: file, column: name, found: table.header)
            }
            return index
        }
        let (name, caption) = (try column("file_name"), try column(captionColumn))
        return try table.rows.enumerated().map { index, cells in
            guard cells.count == table.header.count else {
                throw ImageTextError.metadata(
                    file: file, line: index + 2,
                    reason: "expected \(table.header.count) columns, found \(cells.count); put texts with commas in "
                        + "quotes")
            }
            return Row(line: index + 2, fileName: cells[name], captions: [cells[caption].trimmedLines])
        }
    }
}

/// Sizes that no file of a collection exceeds.
enum ImageTextLimits {
    /// Bytes of one image.
    static let imageBytes = 1 << 28
    /// Bytes of the texts of one sample.
    static let textBytes = 1 << 20
}

extension JSONValue {
    /// A text, or a list of texts that is not empty.
    var captions: [String]? {
        if let text { return [text.trimmedLines] }
        guard let texts = elements?.map({ $0.text?.trimmedLines }), !texts.isEmpty, !texts.contains(nil) else {
            return nil
        }
        return texts.compactMap { $0 }
    }
}

extension String {
    /// The text without white space at its ends; line breaks become spaces, as the tokenizers read them.
    var trimmedLines: String {
        split { $0.isNewline }.map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            .joined(separator: " ")
    }
}
