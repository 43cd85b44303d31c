// SPDX-License-Identifier: Apache-2.0
// Tar files of images with captions, as webdataset defines them and img2dataset writes them. A sample is a sequence of
// adjacent members whose paths are equal up to the first dot of the name; the rest of the name is the field:
//
//     00042.jpg   00042.txt   00042.json         fields jpg, txt and json of the sample 00042
//     cat.v2.jpg                                 field v2.jpg of the sample cat, which is not an image's field
//
// The caption is the field txt, else `caption` or the caption column in the field json.

import CArchive
import Files
import Foundation
import Synchronization

/// Samples of tar files, in the order of their members.
public final class TarImageText: ImageTextSource {
    private let paths: [String]
    private let captionColumn: String
    /// The number of samples of each file.
    private let counts: [Int]
    /// Where the last call of `read` has stopped.
    private let stopped = Mutex<TarCursor?>(nil)
    public let omitted: [OmittedFiles] = []

    public var count: Int { counts.reduce(0, +) }

    /// Counts the samples of all files. Members are skipped, so that only their headers are read.
    ///
    /// - Throws: `FileError`, `ImageTextError`.
    init(_ paths: [String], captionColumn: String) throws {
        self.paths = paths
        self.captionColumn = captionColumn
        counts = try paths.map { path in
            var (count, last) = (0, String?.none)
            let tar = try TarReader(path)
            while let member = try tar.next() {
                guard let name = SampleName(member.path) else { continue }
                if name.sample != last { count += 1 }
                last = name.sample
            }
            return count
        }
        guard count > 0 else { throw ImageTextError.noSamples(path: paths[0]) }
    }

    public func read(from index: Int, _ body: (ImageTextSample) throws -> Bool) throws {
        var skipped = index
        for (path, count) in zip(paths, counts) {
            if skipped >= count {
                skipped -= count
                continue
            }
            guard try read(path, from: skipped, body) else { return }
            skipped = 0
        }
    }

    /// - Returns: whether `body` asked for more.
    private func read(_ path: String, from index: Int, _ body: (ImageTextSample) throws -> Bool) throws -> Bool {
        let cursor = try takeCursor(path, before: index)
        var group: MemberGroup?
        while let (name, member) = try cursor.next() {
            if group?.name != name.sample {
                if let group, cursor.sample >= index, try !body(group.sample(path, captionColumn)) {
                    cursor.putBack(name, member)
                    stopped.withLock { $0 = cursor }
                    return false
                }
                cursor.sample += 1
                group = MemberGroup(name: name.sample)
            }
            if cursor.sample >= index { try group?.add(name.field, member, cursor.tar) }
        }
        guard let group, cursor.sample >= index else { return true }
        return try body(group.sample(path, captionColumn))
    }

    /// A cursor at or before the sample `index`: the stopped one, so that calls with growing indices read a file once,
    /// or one at the start.
    private func takeCursor(_ path: String, before index: Int) throws -> TarCursor {
        let kept = stopped.withLock { stopped -> TarCursor? in
            guard let cursor = stopped, cursor.tar.path == path, cursor.sample < index else { return nil }
            stopped = nil
            return cursor
        }
        return try kept ?? TarCursor(TarReader(path))
    }
}

/// A position in a tar file. One thread uses it at a time.
private final class TarCursor: @unchecked Sendable {
    let tar: TarReader
    /// The sample whose members were read last; -1 at the start.
    var sample = -1
    private var returned: (SampleName, TarReader.Member)?

    init(_ tar: TarReader) { self.tar = tar }

    /// The next member of a sample; nil at the end.
    func next() throws -> (SampleName, TarReader.Member)? {
        if let returned {
            self.returned = nil
            return returned
        }
        while let member = try tar.next() {
            if let name = SampleName(member.path) { return (name, member) }
        }
        return nil
    }

    /// Makes `next` return this member, the last one, again.
    func putBack(_ name: SampleName, _ member: TarReader.Member) { returned = (name, member) }
}

/// The path of a member, divided at the first dot of its last part.
struct SampleName: Equatable {
    let sample, field: String

    /// nil for names without a dot, and for hidden files, whose name begins with one.
    init?(_ path: String) {
        let name = path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...]
        guard let dot = name.firstIndex(of: "."), dot != name.startIndex else { return nil }
        sample = String(path[..<dot])
        field = path[path.index(after: dot)...].lowercased()
    }
}

/// The members of one sample.
private struct MemberGroup {
    let name: String
    private var fields: [String] = []
    private var image: Result<[UInt8], ImageTextError>?
    private var text: [UInt8]?
    private var json: [UInt8]?

    init(name: String) { self.name = name }

    mutating func add(_ field: String, _ member: TarReader.Member, _ tar: TarReader) throws {
        fields.append(field)
        switch field {
        case "txt" where member.size <= ImageTextLimits.textBytes: text = try tar.data(member)
        case "json" where member.size <= ImageTextLimits.textBytes: json = try tar.data(member)
        case _ where imageExtensions.contains(field) && image == nil:
            image =
                member.size <= ImageTextLimits.imageBytes
                ? .success(try tar.data(member))
                : .failure(.tooLarge(path: "\(tar.path): \(member.path)", bytes: member.size))
        default: break
        }
    }

    func sample(_ path: String, _ captionColumn: String) -> ImageTextSample {
        let key = PathParts(path).name + "/" + name
        func missing(_ expected: String) -> Result<[UInt8], ImageTextError> {
            .failure(.missingField(sample: "\(path): \(name)", expected: expected, fields: fields))
        }
        guard let captions = captions(captionColumn) else {
            return ImageTextSample(key: key, captions: [""], image: missing("caption (txt, or json with caption)"))
        }
        return ImageTextSample(
            key: key, captions: captions, image: image ?? missing("image (\(imageExtensions.joined(separator: ", ")))"))
    }

    private func captions(_ column: String) -> [String]? {
        if let text { return String(validating: text, as: UTF8.self).map { [$0.trimmedLines] } }
        guard let json, let object = try? JSONValue(json, allowsNonFinite: true) else { return nil }
        return (object["caption"] ?? object[column])?.captions
    }
}

/// Reads a tar file from its beginning to its end, plain or compressed.
final class TarReader {
    struct Member {
        let path: String
        let size: Int
    }

    let path: String
    private let archive: OpaquePointer

    /// - Throws: `FileError` for a file that does not exist; `ImageTextError.damagedTar` for other files.
    init(_ path: String) throws {
        _ = try FileInspection(path)
        guard let archive = archive_read_new() else { throw FileError.unreadable(path: path, code: ENOMEM) }
        self.path = path
        self.archive = archive
        archive_read_support_filter_all(archive)
        archive_read_support_format_tar(archive)
        guard archive_read_open_filename(archive, path, 1 << 16) == ARCHIVE_OK else { throw damaged() }
    }

    deinit { archive_read_free(archive) }

    /// The next regular file; nil at the end.
    func next() throws -> Member? {
        while true {
            var entry: OpaquePointer?
            switch archive_read_next_header(archive, &entry) {
            case ARCHIVE_EOF: return nil
            case ARCHIVE_OK, ARCHIVE_WARN: break
            default: throw damaged()
            }
            guard let entry, archive_entry_filetype(entry) == TarReader.regularFile,
                let name = archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry)
            else { continue }
            let size = Int(archive_entry_size(entry))
            guard size >= 0 else { throw damaged("the member \(String(cString: name)) has the size \(size)") }
            return Member(path: String(cString: name), size: size)
        }
    }

    /// The bytes of the member that `next` returned last. They are read in parts, because a size alone must not occupy
    /// memory.
    func data(_ member: Member) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < member.size {
            var part = [UInt8](repeating: 0, count: min(member.size - bytes.count, 1 << 16))
            let read = part.withUnsafeMutableBytes { archive_read_data(archive, $0.baseAddress, $0.count) }
            guard read > 0 else { throw damaged() }
            bytes += part.prefix(read)
        }
        return bytes
    }

    /// AE_IFREG, a macro that Swift does not import.
    private static let regularFile: UInt32 = 0o100000

    private func damaged(_ reason: String? = nil) -> ImageTextError {
        let found = archive_error_string(archive).map { String(cString: $0) }
        return .damagedTar(path: path, reason: reason ?? found ?? "it ends too early")
    }
}
