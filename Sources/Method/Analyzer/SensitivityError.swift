// SPDX-License-Identifier: Apache-2.0
// What keeps a sensitivity analysis from starting or going on. Cases carry facts; the text is made here once.

import Files
import Recipes

/// An error of a sensitivity analysis.
public enum SensitivityError: Error, Equatable, Sendable {
    /// The model cannot be run stage by stage.
    case notStaged(architecture: String)
    /// A layer of the model is quantized already.
    case alreadyQuantized(path: LayerID, width: BitWidth)
    /// No layer's path matches the pattern.
    case noLayers(pattern: String)
    /// More shards than layers: this one has none.
    case emptyShard(SensitivityShard, layers: Int)
    /// The pattern is no regular expression.
    case pattern(String)
    /// The full-precision model's images or predictions hold NaN or infinity.
    case referenceNotFinite
    /// More images are asked for than there are prompts or embeddings, or fewer than one.
    case images(requested: Int, available: Int?)
    /// Not as many prompts as embeddings that they shall describe.
    case prompts(found: Int, embeddings: Int)
    /// The CLIP-proxy cannot look at what the model makes.
    case clipNeedsImages(channels: Int)
    /// A file of embeddings is another one than when a table was made from it.
    case embeddingsChanged(path: String)
    /// A table's protocol has not a seed for each image, timesteps for all of them, or a size that there is.
    case generation
    /// A table was made with a sampler that there is none of.
    case sampler(String)
    /// An unfinished analysis lies in the journal, and nobody said that it shall be continued.
    case unfinished(journal: String, done: Int)
    /// Another process is analyzing into this journal.
    case inUse(journal: String)
    /// The journal belongs to another analysis; `option` differs.
    case differentRun(journal: String, option: String, saved: String, requested: String)
    /// A line of the journal, counted from 1, cannot be read.
    case journalLine(journal: String, line: Int, reason: String)
    /// The system refused to open the journal, or to read or write it later; `reason` is the system's text.
    case journalFile(journal: String, reason: String, operation: JournalOperation)
}

/// What was done to a journal when the system refused.
public enum JournalOperation: Equatable, Sendable {
    case opening, reading, writing
}

extension SensitivityError {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .alreadyQuantized(let path, let width):
            "\(path): already quantized to \(width) bits; analyze the full-precision model"
        case .notStaged(let architecture):
            "\(architecture): cannot be run stage by stage, which an analysis needs; expected a StagedDenoiser"
        case .noLayers(let pattern):
            "layers: no quantizable layer's path matches \"\(pattern)\"; list the paths with `bitsfusion info`"
        case .emptyShard(let shard, let layers):
            "shard \(shard): there are only \(layers) layers; use at most as many shards"
        case .pattern(let pattern):
            "layers: \"\(pattern)\" is not a regular expression"
        case .referenceNotFinite:
            "the full-precision model's images or predictions hold NaN or infinity; check the model and the guidance scale"
        case .images(let requested, let available):
            "images: \(requested) requested; expected at least 1"
                + (available.map { " and at most \($0), as many as there are prompts or embeddings" } ?? "")
        case .prompts(let found, let embeddings):
            "prompts: \(found) for \(embeddings) embeddings; give one line for each row of the embeddings"
        case .clipNeedsImages(let channels):
            "CLIP-proxy: looks at images of 3 channels beside their prompts; this model makes \(channels) channels, or "
                + "nobody said what its embeddings say; leave the CLIP-proxy out, or give the prompts"
        case .embeddingsChanged(let path):
            "\(path): has changed since the table was made; analyze again"
        case .generation:
            "generation: prompts, seeds, timesteps and size do not fit together; analyze again"
        case .sampler(let name):
            "generation.sampler: expected a sampler of this program, found \"\(name)\"; analyze again"
        case .unfinished(let journal, let done):
            "\(journal): an unfinished analysis with \(done) measurements; continue it with --resume, or drop it with "
                + "--overwrite"
        case .inUse(let journal):
            "\(journal): another process is writing to it; wait for it, or choose another output with -o"
        case .differentRun(let journal, let option, let saved, let requested):
            "\(journal): the analysis was started with \(option) \(saved), not \(requested); resume with the same, or "
                + "drop it with --overwrite"
        case .journalLine(let journal, let line, let reason):
            "\(journal): line \(line): \(reason); drop the journal with --overwrite"
        case .journalFile(let journal, let reason, .opening):
            "\(journal): cannot be created: \(reason); check the folder of the output"
        case .journalFile(let journal, let reason, .reading): "\(journal): cannot be read: \(reason)"
        case .journalFile(let journal, let reason, .writing):
            "\(journal): cannot be written: \(reason); make room and continue with --resume"
        }
    }
}

extension SensitivityError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noLayers, .pattern, .emptyShard, .images, .prompts, .clipNeedsImages: .usage
        case .notStaged, .alreadyQuantized, .referenceNotFinite, .embeddingsChanged, .generation, .sampler,
            .differentRun,
            .journalLine:
            .badData
        case .unfinished, .inUse, .journalFile(_, _, .opening): .cannotCreate
        case .journalFile: .inputOutput
        }
    }
}
