// SPDX-License-Identifier: Apache-2.0
// The measurements of an unfinished analysis, one JSON line each, so that an interruption loses at most one candidate.
// The first line identifies the run; a last line without line break is incomplete and is removed.
//     {"format": "bitsfusion-sensitivity-journal", "version": 2, "bits", "generation", "layerPattern", "manifest",
//     "shard"} {"bits": 1, "measure": {"clipDrop", "mse", "psnr"}, "path": "conv_in"}

import Files
import Foundation
import Recipes

/// One measured candidate.
struct SensitivityRecord: Equatable, Codable {
    let candidate: SensitivityCandidate
    /// nil where the images contained NaN or infinity.
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
            bits: try container.decode(BitWidth.self, forKey: .bits))
        measure = try container.decode(SensitivityScores?.self, forKey: .measure)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(candidate.path, forKey: .path)
        try container.encode(candidate.bits, forKey: .bits)
        try container.encode(measure, forKey: .measure)
    }
}

/// The settings that must be equal for a run to continue a journal.
struct SensitivityJournalHeader: Equatable, Codable {
    static let format = "bitsfusion-sensitivity-journal"
    static let version = 2

    var format = Self.format
    var version = Self.version
    var generation: AnalysisSettings
    var bits: [BitWidth]
    var layerPattern: String?
    var shard: SensitivityShard?
    /// The run that started the journal; the command line of a run that continues it may differ.
    var manifest: RunManifest

    /// The first difference from `requested` as text; nil where that run may continue this one.
    func difference(to requested: Self) -> (option: String, saved: String, requested: String)? {
        let options: [(String, (Self) -> String)] = [
            ("journal version", { String($0.version) }),
            ("program version", { $0.manifest.toolVersion }),
            ("input files (SHA-256)", { $0.manifest.inputs.map(\.sha256).joined(separator: ", ") }),
            ("bits", { $0.bits.map(\.description).joined(separator: ",") }),
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
    /// The header that the first run wrote.
    private(set) var header: SensitivityJournalHeader
    /// The measurements of earlier runs and of this one.
    private(set) var records: [SensitivityCandidate: SensitivityRecord] = [:]
    private let descriptor: Int32

    /// Starts a journal, or opens one to continue it.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - header: the settings of this run.
    ///   - candidates: the candidates of this run.
    ///   - unfinished: what happens to measurements that exist at `path`.
    /// - Throws: `SensitivityError`: `.inUse`, `.unfinished` where measurements would be lost, `.differentRun`,
    ///   `.journalLine`, `.journalFile`.
    init(
        path: String, header: SensitivityJournalHeader, candidates: Set<SensitivityCandidate>,
        unfinished: UnfinishedAnalysis
    ) throws(SensitivityError) {
        self.path = path
        self.header = header
        descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.failure(path, .opening) }
        // A second process on the same output would overwrite the measurements.
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
                let name = "\(record.candidate.path) at \(record.candidate.bits) bits"
                throw .journalLine(journal: path, line: index + 1, reason: "\(name) is not part of this run")
            }
            records[record.candidate] = record
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Appends one measurement and flushes it to disk.
    ///
    /// - Throws: `SensitivityError.journalFile`.
    func append(_ record: SensitivityRecord) throws(SensitivityError) {
        try write(record)
        records[record.candidate] = record
    }

    /// Deletes the file.
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

    /// The complete lines; truncates the file after them.
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
        let bytes: Data
        do {
            bytes = try JSONEncoder.compact.encode(line) + Data("\n".utf8)
        } catch {
            throw .journalFile(journal: path, reason: "\(error)", operation: .writing)
        }
        let code = bytes.withUnsafeBytes { writeAll($0, to: descriptor) }
        guard code == 0 else {
            throw .journalFile(journal: path, reason: String(cString: strerror(code)), operation: .writing)
        }
        guard fsync(descriptor) == 0 else { throw Self.failure(path, .writing) }
    }

    /// The error of the system call that failed last.
    private static func failure(_ path: String, _ operation: JournalOperation) -> SensitivityError {
        .journalFile(journal: path, reason: String(cString: strerror(errno)), operation: operation)
    }
}
