// SPDX-License-Identifier: Apache-2.0
// The complete set as an HDF5 file (Docs/Formats.md), made from the log of its samples in two passes, so that memory
// does not grow with the set.
// M captions, T tokens.

import Checkpoints
import Files
import Foundation
import Tensors

extension LatentSetLog {
    /// Writes the set to `path`; the file appears when it is complete. Equal logs give equal bytes.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - settings: how the set was made.
    ///   - manifest: the run as JSON.
    ///   - tokenIDs: the token ids of a caption for each text encoder, `[T]` each.
    ///   - progress: called with the share of the work that is done.
    /// - Throws: `FileError`, `HDF5Error`, `DataSetError.noSamples`; what `tokenIDs` and `progress` throw.
    public func write(
        to path: String, settings: LatentSetSettings, manifest: String, tokenIDs: (String) throws -> [[Int32]],
        progress: (Double) throws -> Void = { _ in }
    ) throws {
        let contents = try LatentSetContents(self)
        guard let first = contents.firstCaption else { throw DataSetError.noSamples(skipped: skipped.count) }
        let lengths = try tokenIDs(first).map(\.count)
        let pending = try PendingFile(path)
        let file = try HDF5File.create(pending.temporaryPath, displayPath: path)
        try file.setText(LatentSetName.formatAttribute, LatentSetName.format)
        try file.setInteger(LatentSetName.versionAttribute, LatentSetName.version)
        func json(_ value: some Encodable) throws -> String {
            String(decoding: try JSONEncoder.compact.encode(value), as: UTF8.self)
        }
        try file.setDocument(LatentSetName.manifest, manifest)
        try file.setDocument(LatentSetName.settings, json(settings))
        try file.setDocument(LatentSetName.skipped, json(skipped))

        try writeSamples(to: file, contents, tokenIDs: tokenIDs, lengths: lengths, progress: progress)
        try file.close()
        try pending.commit()
    }

    /// Writes all groups. Their datasets are closed at the return, before the file is.
    private func writeSamples(
        to file: borrowing HDF5File, _ contents: LatentSetContents, tokenIDs: (String) throws -> [[Int32]],
        lengths: [Int], progress: (Double) throws -> Void
    ) throws {
        let captions = try CaptionWriter(file, contents, lengths: lengths)
        var groups: [String: GroupWriter] = [:]
        for (name, group) in contents.groups.sorted(by: { byBytes($0.key, $1.key) }) {
            groups[name] = try GroupWriter(file, name, group)
        }
        var done = 0
        try read { entry, _ in
            done += 1
            guard case .sample(let sample) = entry else { return }
            let size = sample.latentSize
            let range = [Int32(captions.count), Int32(sample.captions.count)]
            try groups[LatentSetName.group(height: size.height, width: size.width)]?.add(sample, captions: range)
            for caption in sample.captions { try captions.add(caption, tokenIDs(caption)) }
            try progress(Double(done) / Double(count))
        }
        try captions.flush()
        for group in groups.values { try group.flush() }
    }
}

/// What a log holds, for the extents of the datasets.
private struct LatentSetContents {
    struct Group {
        var count = 0
        var keyBytes = 0
        var shapes: [String: [Int]] = [:]
    }

    var groups: [String: Group] = [:]
    var captionCount = 0
    var captionBytes = 0
    var firstCaption: String?

    init(_ log: LatentSetLog) throws {
        try log.read(withValues: false) { entry, shapes in
            guard case .sample(let sample) = entry, let mean = shapes[LatentSetName.mean] else { return }
            let name = LatentSetName.group(height: mean[mean.count - 2], width: mean[mean.count - 1])
            groups[name, default: Group()].count += 1
            groups[name]?.keyBytes += sample.key.utf8.count
            groups[name]?.shapes = shapes
            captionCount += sample.captions.count
            captionBytes += sample.captions.reduce(0) { $0 + $1.utf8.count }
            firstCaption = firstCaption ?? sample.captions.first
        }
    }
}

/// Rows of one dataset, which are written many at a time.
private final class RowWriter {
    private static let bufferBytes = 1 << 20

    private let dataset: HDF5Dataset
    private let rowBytes: Int
    private var pending: [UInt8] = []
    private var written = 0

    init(_ file: borrowing HDF5File, _ object: String, _ type: StorageType, shape: [Int]) throws {
        rowBytes = max(shape.dropFirst().reduce(type.bytesPerElement, *), 1)
        dataset = try file.createDataset(object, type: type, shape: shape)
    }

    /// Adds the elements of one or more rows.
    func add<Element: BitwiseCopyable>(_ elements: [Element]) throws {
        elements.withUnsafeBytes { pending.append(contentsOf: $0) }
        if pending.count >= Self.bufferBytes { try flush() }
    }

    func flush() throws {
        let rows = pending.count / rowBytes
        guard rows > 0 else { return }
        try pending.withUnsafeBytes { bytes in
            Result { () throws in try dataset.write(rows: written..<written + rows, bytes) }
        }.get()
        written += rows
        pending.removeAll(keepingCapacity: true)
    }
}

/// Texts as one sequence of bytes in UTF-8 and the offsets of their ends.
private final class TextWriter {
    private let bytes, offsets: RowWriter
    private var end = 0

    init(_ file: borrowing HDF5File, _ object: String, count: Int, bytes: Int) throws {
        self.bytes = try RowWriter(file, object, .uint8, shape: [bytes])
        offsets = try RowWriter(file, object + "_offsets", .int64, shape: [count + 1])
        try offsets.add([Int64(0)])
    }

    func add(_ text: String) throws {
        end += text.utf8.count
        try bytes.add(Array(text.utf8))
        try offsets.add([Int64(end)])
    }

    func flush() throws {
        try bytes.flush()
        try offsets.flush()
    }
}

/// The group of captions.
private final class CaptionWriter {
    private let text: TextWriter
    private let ids: [RowWriter]
    private(set) var count = 0

    init(_ file: borrowing HDF5File, _ contents: LatentSetContents, lengths: [Int]) throws {
        let group = LatentSetName.captions + "/"
        text = try TextWriter(
            file, group + LatentSetName.text, count: contents.captionCount, bytes: contents.captionBytes)
        var ids: [RowWriter] = []
        for (index, length) in lengths.enumerated() {
            ids.append(
                try RowWriter(
                    file, group + LatentSetName.inputIDs(index), .int32, shape: [contents.captionCount, length]))
        }
        self.ids = ids
    }

    func add(_ caption: String, _ tokenIDs: [[Int32]]) throws {
        try text.add(caption)
        for (writer, row) in zip(ids, tokenIDs) { try writer.add(row) }
        count += 1
    }

    func flush() throws {
        try text.flush()
        for writer in ids { try writer.flush() }
    }
}

/// The group of latents of one size.
private final class GroupWriter {
    private let values: [String: RowWriter]
    private let timeIDs, captions: RowWriter
    private let keys: TextWriter

    init(_ file: borrowing HDF5File, _ name: String, _ group: LatentSetContents.Group) throws {
        var values: [String: RowWriter] = [:]
        for (dataset, shape) in group.shapes.sorted(by: { $0.key < $1.key }) {
            values[dataset] = try RowWriter(file, "\(name)/\(dataset)", .float16, shape: [group.count] + shape)
        }
        self.values = values
        timeIDs = try RowWriter(file, "\(name)/\(LatentSetName.timeIDs)", .float32, shape: [group.count, 6])
        captions = try RowWriter(file, "\(name)/\(LatentSetName.captionRanges)", .int32, shape: [group.count, 2])
        keys = try TextWriter(file, "\(name)/\(LatentSetName.key)", count: group.count, bytes: group.keyBytes)
    }

    func add(_ sample: LatentSample, captions range: [Int32]) throws {
        for (name, writer) in values {
            let bits = sample.values[name]?.withUnsafeBufferPointer { Float16Bits.encode($0, .float16) }
            try writer.add(bits ?? [])
        }
        try timeIDs.add(sample.timeIDs)
        try captions.add(range)
        try keys.add(sample.key)
    }

    func flush() throws {
        for writer in values.values { try writer.flush() }
        try timeIDs.flush()
        try captions.flush()
        try keys.flush()
    }
}
