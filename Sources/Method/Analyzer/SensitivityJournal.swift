// SPDX-License-Identifier: Apache-2.0
// The measurements of an unfinished analysis, one JSON line each, so that an interrupted one loses at most the
// candidate it was at. The first line pins the run; a last line without its line break was torn and is dropped.
//     {"format": "bitsfusion-sensitivity-journal", "version": 1, "generation", "layerPattern", "manifest", "shard", "widths"}
//     {"bits": 1, "measure": {"clipDrop", "mse", "psnr"}, "path": "conv_in"}

import Foundation
import Recipes

/// One measured candidate.
struct SensitivityRecord: Equatable, Codable {
    let candidate: SensitivityCandidate
    /// nil where the images held NaN or infinity.
    let measure: SensitivityScores?

    enum CodingKeys: String, CodingKey {
        case path, bits, measure
    }

    init(_ candidate: SensitivityCandidate, _ measure: SensitivityScores?) {
        self.candidate = candidate
        self.measure = measure
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        candidate = SensitivityCandidate(
            path: try container.decode(LayerID.self, forKey: .path),
            width: try container.decode(BitWidth.self, forKey: .bits))
        measure = try container.decode(SensitivityScores?.self, forKey: .measure)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(candidate.path, forKey: .path)
        try container.encode(candidate.width, forKey: .bits)
        try container.encode(measure, forKey: .measure)
    }
}

/// What has to be the same for a run to continue a journal.
struct SensitivityJournalHeader: Equatable, Codable {
    static let format = "bitsfusion-sensitivity-journal"
    static let version = 1

    var format = Self.format
    var version = Self.version
    var generation: AnalysisSettings
    var widths: [BitWidth]
    var layerPattern: String?
    var shard: SensitivityShard?
    /// The run that began the journal; its command line may differ from the one that continues it.
    var manifest: RunManifest

    /// The first difference to `requested`, in words, or nil where that run may continue this one.
    func difference(to requested: Self) -> (option: String, saved: String, requested: String)? {
        let options: [(String, (Self) -> String)] = [
            ("journal version", { String($0.version) }),
            ("program version", { $0.manifest.toolVersion }),
            ("input files (SHA-256)", { $0.manifest.inputs.map(\.sha256).joined(separator: ", ") }),
            ("bits", { $0.widths.map(\.description).joined(separator: ",") }),
            ("layers", { $0.layerPattern ?? "all" }),
            ("shard", { $0.shard?.description ?? "1/1" }),
            ("measures", { $0.generation.measures.map(\.rawValue).joined(separator: ",") }),
            ("timesteps", { $0.generation.timesteps.map(String.init).joined(separator: ", ") }),
            ("sampler", { $0.generation.sampler }),
            ("steps", { String($0.generation.steps) }),
            ("size", { $0.generation.size.map(String.init) ?? "the model's" }),
            ("guidance scale", { String($0.generation.guidanceScale) }),
            ("training steps", { String($0.generation.qatSteps) }),
            (
                "learning rates",
                { "\($0.generation.qatLearningRate ?? 0), \($0.generation.qatScaleLearningRate ?? 0)" }
            ),
            ("training timesteps", { String($0.generation.qatTimestepsPerImage ?? 0) }),
            ("prompts", { $0.generation.prompts.joined(separator: "; ") }),
            ("seeds", { $0.generation.seeds.map(String.init).joined(separator: ", ") }),
        ]
        for (option, text) in options where text(self) != text(requested) {
            return (option, text(self), text(requested))
        }
        return nil
    }
}

/// The journal file of a running analysis.
final class SensitivityJournal {
    let path: String
    /// As the run that began the journal wrote it.
    private(set) var header: SensitivityJournalHeader
    /// What was measured before this run.
    private(set) var records: [SensitivityCandidate: SensitivityRecord] = [:]
    private let descriptor: Int32

    /// Begins a journal, or opens one to continue it.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - header: this run.
    ///   - candidates: what this run measures.
    ///   - unfinished: what becomes of measurements that lie at `path`.
    /// - Throws: `SensitivityError`: `.inUse`, `.unfinished` where measurements would be lost, `.differentRun`, `.journalLine`,
    ///   `.journalFile`.
    init(
        path: String, header: SensitivityJournalHeader, candidates: Set<SensitivityCandidate>,
        unfinished: UnfinishedAnalysis
    ) throws(SensitivityError) {
        self.path = path
        self.header = header
        descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.failure(path, .opening) }
        // Another process on the same output would lose this one's measurements.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .inUse(journal: path) }
        let lines = try wholeLines()
        if unfinished == .refused, lines.count > 1 {
            throw .unfinished(journal: path, done: lines.count - 1)
        }
        guard unfinished == .resumed, let first = lines.first else {
            try restart()
            return
        }
        let saved = try decode(SensitivityJournalHeader.self, first, line: 1)
        guard saved.format == SensitivityJournalHeader.format else {
            throw .journalLine(journal: path, line: 1, reason: "not a journal of this program")
        }
        if let difference = saved.difference(to: header) {
            throw .differentRun(
                journal: path, option: difference.option, saved: difference.saved,
                requested: difference.requested)
        }
        self.header = saved
        for (index, line) in lines.enumerated().dropFirst() {
            let record = try decode(SensitivityRecord.self, line, line: index + 1)
            guard candidates.contains(record.candidate) else {
                let name = "\(record.candidate.path) at \(record.candidate.width) bits"
                throw .journalLine(journal: path, line: index + 1, reason: "\(name) is not part of this run")
            }
            records[record.candidate] = record
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Adds one measurement and waits until it is on the disk.
    ///
    /// - Throws: `SensitivityError.journalFile`.
    func append(_ record: SensitivityRecord) throws(SensitivityError) {
        try write(record)
        records[record.candidate] = record
    }

    /// Removes the file, when what it holds is safe elsewhere.
    ///
    /// - Throws: `SensitivityError.journalFile`.
    func remove() throws(SensitivityError) {
        guard unlink(path) == 0 else { throw Self.failure(path, .writing) }
    }

    /// Empties the file and writes the header.
    private func restart() throws(SensitivityError) {
        guard ftruncate(descriptor, 0) == 0 else { throw Self.failure(path, .writing) }
        try write(header)
    }

    /// The lines that end in a line break; cuts off what follows the last of them.
    private func wholeLines() throws(SensitivityError) -> [Data] {
        let content: Data
        do {
            content = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw .journalFile(
                journal: path, reason: error.localizedDescription.replacingOccurrences(of: "\n", with: " "),
                operation: .reading)
        }
        let end = content.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        if end < content.count {
            guard ftruncate(descriptor, off_t(end)) == 0 else { throw Self.failure(path, .writing) }
        }
        return content[..<end].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .dropLast().map { Data($0) }
    }

    private func decode<Line: Decodable>(
        _ type: Line.Type, _ data: Data, line: Int
    ) throws(SensitivityError) -> Line {
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch {
            throw .journalLine(journal: path, line: line, reason: "damaged or not of this format")
        }
    }

    private func write(_ line: some Encodable) throws(SensitivityError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes: Data
        do {
            bytes = try encoder.encode(line) + Data("\n".utf8)
        } catch {
            throw .journalFile(journal: path, reason: "\(error)", operation: .writing)
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 || (count < 0 && errno == EINTR) else { throw Self.failure(path, .writing) }
            rest = rest.dropFirst(max(count, 0))
        }
        guard fsync(descriptor) == 0 else { throw Self.failure(path, .writing) }
    }

    /// The reason of the system call that just failed.
    private static func failure(_ path: String, _ operation: JournalOperation) -> SensitivityError {
        .journalFile(journal: path, reason: String(cString: strerror(errno)), operation: operation)
    }
}
