// SPDX-License-Identifier: Apache-2.0
// The work folder of a latent set that is being made, `set.h5.part` for `set.h5`. Encoded samples are appended to one
// file, so that a run that was stopped in any way continues after the last complete sample.
//
//     settings.json     LatentSetSettings
//     samples.log       records, one after the other, each
//                           uint32 n, uint32 CRC-32 of the n bytes, n bytes:
//                           uint32 m, m bytes of JSON (Record), values in float16

import Files
import Foundation
import Tensors

/// The samples that were made so far, encoded or skipped.
public final class LatentSetLog {
    /// What a record says besides its values.
    private struct Record: Codable {
        var key: String
        var captions: [String] = []
        var timeIDs: [Float] = []
        var shapes: [String: [Int]] = [:]
        /// Set for a sample without values.
        var skipped: String?
    }

    /// One sample of the log.
    public enum Entry {
        case sample(LatentSample)
        case skipped(SkippedSample)
    }

    private let folder: String
    private let descriptor: Int32
    private let reader: FileReader
    private var end = 0
    /// Samples in the log, skipped ones included.
    public private(set) var count = 0
    /// The skipped samples.
    public private(set) var skipped: [SkippedSample] = []

    private var samplesPath: String { folder + "/samples.log" }
    private static func settingsPath(_ folder: String) -> String { folder + "/settings.json" }

    /// The work folder of the set at `path`.
    public static func folder(of path: String) -> String { path + ".part" }

    /// The settings of the unfinished set at `path` as JSON; nil if there is none.
    ///
    /// - Throws: `FileError`.
    public static func savedSettings(of path: String) throws -> String? {
        let file = settingsPath(folder(of: path))
        return FileManager.default.fileExists(atPath: file) ? try AtomicFile.readText(file) : nil
    }

    /// Removes the work folder of the set at `path`, if there is one.
    ///
    /// - Throws: `FileError.cannotCreate`.
    public static func remove(of path: String) throws {
        let folder = folder(of: path)
        // Without its settings, what remains of a folder after an interruption is no unfinished set.
        for name in [settingsPath(folder), folder] where FileManager.default.fileExists(atPath: name) {
            do {
                try FileManager.default.removeItem(atPath: name)
            } catch {
                throw FileError.cannotCreate(path: name, code: errno)
            }
        }
    }

    /// Opens the work folder of the set at `path`, or creates it. An incomplete record at the end is removed.
    ///
    /// - Parameters:
    ///   - path: the path of the complete set.
    ///   - settings: the settings of the run; those of an existing folder are the caller's to compare.
    ///   - block: only complete blocks of as many samples are kept, because the samples of a block are computed at
    ///     once.
    ///   - total: the number of samples of the complete set, whose last block can be smaller; nil if blocks have one.
    /// - Throws: `FileError`.
    public init(of path: String, settings: LatentSetSettings, block: Int = 1, total: Int? = nil) throws {
        folder = Self.folder(of: path)
        if mkdir(folder, 0o777) != 0, errno != EEXIST { throw FileError.cannotCreate(path: folder, code: errno) }
        let samples = folder + "/samples.log"
        if !FileManager.default.fileExists(atPath: Self.settingsPath(folder)) {
            unlink(samples)
            try AtomicFile.write(settings.json(), to: Self.settingsPath(folder))
        }
        descriptor = open(samples, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw FileError.cannotCreate(path: samples, code: errno) }
        reader = try FileReader(samples)
        try recover(block: block, total: total)
    }

    deinit { close(descriptor) }

    // MARK: Writing

    /// Adds a sample, or one that is left out of the set.
    ///
    /// - Throws: `FileError.appendFailed`. The log then ends after the sample before.
    public func append(_ entry: Entry) throws { try append(record: Self.record(of: entry)) }

    /// The record of an entry, which another process can append.
    ///
    /// - Throws: `EncodingError` for numbers that JSON cannot represent.
    static func record(of entry: Entry) throws -> [UInt8] {
        var record: Record
        var values: [UInt8] = []
        switch entry {
        case .sample(let sample):
            record = Record(key: sample.key, captions: sample.captions, timeIDs: sample.timeIDs)
            record.shapes = sample.values.mapValues(\.shape)
            for name in sample.values.keys.sorted() {
                sample.values[name]?.withUnsafeBufferPointer { buffer in
                    Float16Bits.encode(buffer, .float16).withUnsafeBytes { values.append(contentsOf: $0) }
                }
            }
        case .skipped(let sample): record = Record(key: sample.key, skipped: sample.reason)
        }
        let json = [UInt8](try JSONEncoder.compact.encode(record))
        return bytes(UInt32(json.count)) + json + values
    }

    /// Records one after the other, each with its size, as one message of a process.
    static func joined(_ records: [[UInt8]]) -> [UInt8] { records.flatMap { bytes(UInt32($0.count)) + $0 } }

    /// The records of `joined(_:)`.
    static func separated(_ message: [UInt8]) -> [[UInt8]] {
        var records: [[UInt8]] = []
        var start = 0
        while start < message.count {
            let end = start + 4 + Int(integer(message, start))
            records.append(Array(message[start + 4..<end]))
            start = end
        }
        return records
    }

    /// Adds an entry of which `record(of:)` has made `body`.
    ///
    /// - Throws: as `append(_:)`.
    func append(record body: [UInt8]) throws {
        guard let record = Self.record(in: body) else {
            preconditionFailure("LatentSetLog: \(body.count) bytes are no record")
        }
        let bytes = Self.bytes(UInt32(body.count)) + Self.bytes(CRC32.checksum(of: body)) + body
        let code = bytes.withUnsafeBytes { writeAll($0, to: descriptor, at: end) }
        guard code == 0 else {
            ftruncate(descriptor, off_t(end))
            throw FileError.appendFailed(path: samplesPath, code: code)
        }
        end += bytes.count
        count += 1
        if let reason = record.skipped { skipped.append(SkippedSample(key: record.key, reason: reason)) }
    }

    /// Syncs the log to disk.
    ///
    /// - Throws: `FileError.appendFailed`.
    public func sync() throws {
        guard fsync(descriptor) == 0 else { throw FileError.appendFailed(path: samplesPath, code: errno) }
    }

    // MARK: Reading

    /// Calls `body` with all samples in order.
    ///
    /// - Parameters:
    ///   - withValues: false leaves the values out of the samples.
    ///   - body: gets each sample and the shapes of its values.
    /// - Throws: `FileError`, and what `body` throws.
    func read(withValues: Bool = true, _ body: (Entry, _ shapes: [String: [Int]]) throws -> Void) throws {
        var offset = 0
        while let (record, bytes, next) = try record(at: offset, withValues: withValues) {
            if let reason = record.skipped {
                try body(.skipped(SkippedSample(key: record.key, reason: reason)), [:])
            } else {
                let values = withValues ? Self.values(record.shapes, bytes) : [:]
                try body(
                    .sample(
                        LatentSample(
                            key: record.key, captions: record.captions, timeIDs: record.timeIDs, values: values)),
                    record.shapes)
            }
            offset = next
        }
    }

    private static func values(_ shapes: [String: [Int]], _ bytes: ArraySlice<UInt8>) -> [String: Tensor] {
        var values: [String: Tensor] = [:]
        var start = bytes.startIndex
        for name in shapes.keys.sorted() {
            guard let shape = shapes[name] else { continue }
            let end = start + 2 * shape.reduce(1, *)
            let bits = bytes[start..<end].withUnsafeBytes { raw in
                (0..<raw.count / 2).map { raw.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self) }
            }
            values[name] = Weight16(name: name, bits: bits, shape: shape, type: .float16).tensor()
            start = end
        }
        return values
    }

    /// Finds the end of the last complete record and truncates the log there.
    private func recover(block: Int, total: Int?) throws {
        var ends: [Int] = []
        var found: [SkippedSample?] = []
        var offset = 0
        while let (record, _, next) = try record(at: offset, withValues: false) {
            found.append(record.skipped.map { SkippedSample(key: record.key, reason: $0) })
            ends.append(next)
            offset = next
        }
        count = ends.count == total ? ends.count : ends.count / block * block
        end = count == 0 ? 0 : ends[count - 1]
        skipped = found.prefix(count).compactMap { $0 }
        guard ftruncate(descriptor, off_t(end)) == 0 else {
            throw FileError.appendFailed(path: samplesPath, code: errno)
        }
    }

    /// The record at `offset`; nil at the end of the log and for a record that was not written completely.
    private func record(at offset: Int, withValues: Bool) throws -> (Record, ArraySlice<UInt8>, next: Int)? {
        guard let head = try bytes(at: offset, count: 8) else { return nil }
        let (count, checksum) = (Self.integer(head, 0), Self.integer(head, 4))
        guard count >= 4, let body = try bytes(at: offset + 8, count: Int(count)), CRC32.checksum(of: body) == checksum,
            let record = Self.record(in: body)
        else { return nil }
        let values = 4 + Int(Self.integer(body, 0))
        return (record, withValues ? body[values...] : [], offset + 8 + Int(count))
    }

    /// What the bytes of a record say; nil for other bytes.
    private static func record(in body: [UInt8]) -> Record? {
        let json = Int(integer(body, 0))
        guard json <= body.count - 4,
            let record = try? JSONDecoder().decode(Record.self, from: Data(body[4..<4 + json])),
            record.shapes.values.reduce(0, { $0 + 2 * $1.reduce(1, *) }) == body.count - 4 - json
        else { return nil }
        return record
    }

    /// nil where the log ends before.
    private func bytes(at offset: Int, count: Int) throws -> [UInt8]? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, Int(status.st_size) >= offset + count else { return nil }
        var buffer = [UInt8](repeating: 0, count: count)
        try buffer.withUnsafeMutableBytes { buffer in
            Result { () throws(FileError) in try reader.read(into: buffer, at: offset) }
        }.get()
        return buffer
    }

    private static func bytes(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

    private static func integer(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    }
}
