// SPDX-License-Identifier: Apache-2.0
// Reads a latent set (Docs/Formats.md). Latents, captions and token ids stay in the file; rows are read when they are
// asked for.
// n samples of one size, C latent channels, h w size of latents, K condition channels, S stored states of a
// trajectory, M captions, T tokens.

import Checkpoints
import Files
import Foundation
import Networks
import Tensors

/// A latent set, written by `bitsfusion dataset`.
public struct LatentSetReader: Sendable {
    /// The samples with latents of one size.
    public struct Group: Sendable {
        /// The size of the latents.
        public let height, width: Int
        /// n.
        public let count: Int
        /// C.
        public let channels: Int
        /// Whether the latents have a distribution; otherwise `mean` holds the latents themselves.
        public let hasLogvar: Bool
        fileprivate let name: String
    }

    /// One sample without its latents.
    public struct Description: Equatable, Sendable {
        public let key: String
        public let captions: [String]
        /// [original height, original width, crop top, crop left, target height, target width] in pixels.
        public let timeIDs: [Float]
    }

    public let path: String
    public let settings: LatentSetSettings
    /// What the source holds that is not in the set.
    public let skipped: [SkippedSample]
    /// Sorted by height and width; at least one.
    public let groups: [Group]
    /// M.
    public let captionCount: Int
    /// T of each text encoder.
    public let tokenCounts: [Int]
    private let tensors: HDF5Tensors

    /// The number of samples.
    public var count: Int { groups.reduce(0) { $0 + $1.count } }

    /// Whether the file at `path` says that it is a latent set.
    ///
    /// - Throws: `FileError`, `HDF5Error`.
    public static func isLatentSet(_ path: String) throws -> Bool {
        guard try FileInspection(path).kind == .hdf5 else { return false }
        return try HDF5File.open(path).text(LatentSetName.formatAttribute) == LatentSetName.format
    }

    /// Opens the set and checks the shapes of all of its datasets.
    ///
    /// - Throws: `FileError`, `HDF5Error`, `DataSetError`, `JSONError`.
    public init(_ path: String) throws {
        self.path = path
        let file = try HDF5File.open(path)
        guard try file.text(LatentSetName.formatAttribute) == LatentSetName.format else {
            throw DataSetError.notALatentSet(file: path)
        }
        let version = try file.integers(LatentSetName.versionAttribute)?.first
        guard version == LatentSetName.version else {
            throw DataSetError.version(file: path, expected: LatentSetName.version, found: version)
        }
        func document<Value: Decodable>(_ object: String, _ type: Value.Type) throws -> Value {
            guard let text = try file.document(object),
                let value = try? JSONDecoder().decode(type, from: Data(text.utf8))
            else { throw DataSetError.missing(file: path, name: object, contents: "the JSON document of the set") }
            return value
        }
        settings = try document(LatentSetName.settings, LatentSetSettings.self)
        skipped = try document(LatentSetName.skipped, [SkippedSample].self)
        let wanted = try file.datasets(below: "/").filter { !$0.hasPrefix(LatentSetName.header) }
        tensors = try HDF5Tensors(path, group: "/", naming: .paths, only: Set(wanted.map { String($0.dropFirst()) }))
        let checks = LatentSetShapes(path: path, tensors: tensors, settings: settings)
        (captionCount, tokenCounts) = try checks.captions()
        var groups: [Group] = []
        for entry in try file.contains(LatentSetName.latents) ? file.members(of: LatentSetName.latents) : [] {
            let name = String(LatentSetName.latents.dropFirst()) + "/" + entry.name
            let mean = try checks.latents(name)
            groups.append(
                Group(
                    height: mean[2], width: mean[3], count: mean[0], channels: mean[1],
                    hasLogvar: tensors.stored("\(name)/\(LatentSetName.logvar)") != nil, name: name))
        }
        guard !groups.isEmpty else { throw DataSetError.noSamples(skipped: skipped.count) }
        self.groups = groups.sorted { ($0.height, $0.width) < ($1.height, $1.width) }
    }

    /// Key, captions and sizes of sample `row` of `group`.
    ///
    /// - Throws: `HDF5Error`, `DataSetError.value` for offsets out of range.
    public func description(_ row: Int, of group: Group) throws -> Description {
        let range = try captionRange(row, of: group)
        return Description(
            key: try text("\(group.name)/\(LatentSetName.key)", row), captions: try range.map { try caption($0) },
            timeIDs: try timeIDs(row, of: group).values)
    }

    /// The indices of the captions of sample `row` of `group`.
    func captionRange(_ row: Int, of group: Group) throws -> Range<Int> {
        let name = "\(group.name)/\(LatentSetName.captionRanges)"
        let values: [Int32] = try elements(name, rows: row..<row + 1)
        let (first, count) = (Int(values[0]), Int(values[1]))
        guard first >= 0, count > 0, first + count <= captionCount else {
            throw DataSetError.value(
                file: path, name: name, sample: row,
                expected: "first caption and number of captions of \(captionCount)", found: "\(values)")
        }
        return first..<first + count
    }

    /// Caption `index` as text.
    public func caption(_ index: Int) throws -> String {
        try text("\(LatentSetName.captions.dropFirst())/\(LatentSetName.text)", index)
    }

    /// The token ids of caption `index` for each text encoder, `[T]` each.
    func tokenIDs(_ index: Int) throws -> [[Int32]] {
        try tokenCounts.indices.map { encoder in
            try elements(
                "\(LatentSetName.captions.dropFirst())/\(LatentSetName.inputIDs(encoder))", rows: index..<index + 1)
        }
    }

    /// Checks that all token ids of text encoder `index` are below `limit`.
    ///
    /// - Throws: `DataSetError.value`; `HDF5Error`.
    func checkTokenIDs(_ index: Int, below limit: Int) throws {
        let name = "\(LatentSetName.captions.dropFirst())/\(LatentSetName.inputIDs(index))"
        for first in stride(from: 0, to: captionCount, by: 4096) {
            let ids: [Int32] = try elements(name, rows: first..<min(first + 4096, captionCount))
            if let offset = ids.firstIndex(where: { !(0..<Int32(limit)).contains($0) }) {
                throw DataSetError.value(
                    file: path, name: name, sample: first + offset / tokenCounts[index],
                    expected: "token ids from 0 to \(limit - 1)", found: "\(ids[offset])")
            }
        }
    }

    /// Original size, crop and target size of sample `row` of `group`, `[1, 6]`.
    func timeIDs(_ row: Int, of group: Group) throws -> Tensor {
        try tensors.rows(row..<row + 1).tensor("\(group.name)/\(LatentSetName.timeIDs)")
    }

    /// Row `row` of the dataset `name` of `group`, `[1, ...]`; nil where the group has no such dataset.
    func values(_ name: String, _ row: Int, of group: Group) throws -> Tensor? {
        let key = "\(group.name)/\(name)"
        guard tensors.stored(key) != nil else { return nil }
        do {
            return try tensors.rows(row..<row + 1).tensor(key)
        } catch CheckpointError.notFinite(_, _, _, let count) {
            throw DataSetError.notFinite(file: path, name: key, sample: row, count: count)
        }
    }

    /// Sample `row` of `group` as the denoiser takes it, `[1, C + K, h, w]`: scaled, with condition channels.
    ///
    /// - Parameters:
    ///   - row: the sample.
    ///   - group: its group.
    ///   - noise: draws standard normal values of a shape, for a sample of the VAE's distribution; nil: its mean.
    /// - Returns: the latents.
    /// - Throws: `HDF5Error`, `DataSetError.notFinite`.
    func sample(_ row: Int, of group: Group, noise: (([Int]) -> Tensor)?) throws -> Tensor {
        guard var latents = try values(LatentSetName.mean, row, of: group) else {
            throw DataSetError.missing(file: path, name: "\(group.name)/\(LatentSetName.mean)", contents: "it")
        }
        if let noise, let logvar = try values(LatentSetName.logvar, row, of: group) {
            latents = AutoencoderKL.sample(mean: latents, logvar: logvar, noise: noise(latents.shape))
        }
        latents = (settings.shiftFactor == 0 ? latents : latents - settings.shiftFactor) * settings.scalingFactor
        guard let condition = try values(LatentSetName.condition, row, of: group) else { return latents }
        return .concatenated([latents, condition], axis: 1)
    }

    // MARK: Elements

    private func elements<Element: BitwiseCopyable & ExpressibleByIntegerLiteral>(
        _ key: String, rows: Range<Int>
    ) throws -> [Element] {
        let rowSize = tensors.stored(key)?.shape.dropFirst().reduce(1, *) ?? 0
        var values = [Element](repeating: 0, count: rows.count * rowSize)
        try values.withUnsafeMutableBytes { buffer in
            Result { () throws in try tensors.read(key, rows: rows, into: buffer) }
        }.get()
        return values
    }

    private func text(_ key: String, _ index: Int) throws -> String {
        let offsets: [Int64] = try elements(key + "_offsets", rows: index..<index + 2)
        let bytes = tensors.stored(key)?.shape[0] ?? 0
        guard 0 <= offsets[0], offsets[0] <= offsets[1], offsets[1] <= bytes else {
            throw DataSetError.value(
                file: path, name: key + "_offsets", sample: index, expected: "increasing offsets up to \(bytes)",
                found: "\(offsets)")
        }
        let text: [UInt8] = try elements(key, rows: Int(offsets[0])..<Int(offsets[1]))
        return String(decoding: text, as: UTF8.self)
    }
}

/// Checks types and shapes of the datasets of a set.
private struct LatentSetShapes {
    let path: String
    let tensors: HDF5Tensors
    let settings: LatentSetSettings

    /// M, and T of each text encoder.
    func captions() throws -> (Int, [Int]) {
        let group = String(LatentSetName.captions.dropFirst()) + "/"
        let count = try texts(group + LatentSetName.text)
        let lengths = try settings.textEncoders.indices.map { index in
            let name = group + LatentSetName.inputIDs(index)
            return try shape(name, .int32, [count, nil])[1]
        }
        return (count, lengths)
    }

    /// The shape of the means of the group `name`.
    func latents(_ name: String) throws -> [Int] {
        let mean = try shape("\(name)/\(LatentSetName.mean)", .float16, [nil, nil, nil, nil])
        guard mean.allSatisfy({ $0 > 0 }) else {
            throw DataSetError.shape(
                file: path, name: "\(name)/\(LatentSetName.mean)", expected: "[n, C, h, w]", found: mean)
        }
        let (count, size) = (mean[0], [mean[2], mean[3]])
        if tensors.stored("\(name)/\(LatentSetName.logvar)") != nil {
            _ = try shape("\(name)/\(LatentSetName.logvar)", .float16, mean)
        }
        if settings.conditionChannels > 0 {
            _ = try shape(
                "\(name)/\(LatentSetName.condition)", .float16, [count, settings.conditionChannels] + size)
        }
        if !settings.trajectoryTimesteps.isEmpty {
            _ = try shape(
                "\(name)/\(LatentSetName.trajectory)", .float16,
                [count, settings.trajectoryTimesteps.count, mean[1]] + size)
        }
        _ = try shape("\(name)/\(LatentSetName.timeIDs)", .float32, [count, 6])
        _ = try shape("\(name)/\(LatentSetName.captionRanges)", .int32, [count, 2])
        guard try texts("\(name)/\(LatentSetName.key)") == count else {
            throw DataSetError.count(
                file: path, name: "\(name)/\(LatentSetName.key)", samples: count,
                found: try texts("\(name)/\(LatentSetName.key)"))
        }
        return mean
    }

    /// The number of texts of a sequence of texts.
    private func texts(_ name: String) throws -> Int {
        _ = try shape(name, .uint8, [nil])
        let ends = try shape(name + "_offsets", .int64, [nil])[0]
        guard ends > 0 else {
            throw DataSetError.shape(file: path, name: name + "_offsets", expected: "[count + 1]", found: [ends])
        }
        return ends - 1
    }

    /// The shape of the dataset `name`, which must have the extents `expected`; nil stands for any.
    private func shape(_ name: String, _ type: StorageType, _ expected: [Int?]) throws -> [Int] {
        guard let stored = tensors.stored(name) else {
            throw DataSetError.missing(file: path, name: name, contents: "it")
        }
        guard stored.type == type else {
            throw DataSetError.elementType(file: path, name: name, found: stored.typeName)
        }
        guard stored.shape.count == expected.count,
            zip(stored.shape, expected).allSatisfy({ $1 == nil || $0 == $1 })
        else {
            let text = expected.map { $0.map { "\($0)" } ?? "*" }.joined(separator: ", ")
            throw DataSetError.shape(file: path, name: name, expected: "[\(text)]", found: stored.shape)
        }
        return stored.shape
    }
}
