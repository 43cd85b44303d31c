// SPDX-License-Identifier: Apache-2.0
// Errors of the sensitivity analysis. Cases carry facts; their text is written here.

import Files
import Recipes

/// An error of a sensitivity analysis.
public enum SensitivityError: Error, Equatable, Sendable {
    /// The model cannot be run stage by stage.
    case notStaged(architecture: String)
    /// The model takes further input channels as a condition, such as an image, which an analysis has none of.
    case conditionChannels(inChannels: Int, outChannels: Int)
    /// The model predicts more channels than its samples have, such as learned variances.
    case predictedChannels(inChannels: Int, outChannels: Int)
    /// A layer of the model is quantized already.
    case alreadyQuantized(path: LayerID, bits: BitWidth)
    /// No layer's path matches the pattern.
    case noLayers(pattern: String)
    /// There are more shards than layers, and this one has none.
    case emptyShard(SensitivityShard, layers: Int)
    /// The pattern is not a regular expression.
    case pattern(String)
    /// The full-precision model's images or predictions contain NaN or infinity.
    case referenceNotFinite
    /// More images than prompts or embeddings, or fewer than one.
    case images(requested: Int, available: Int?)
    /// The number of prompts is not that of embeddings.
    case prompts(found: Int, embeddings: Int)
    /// Images are compared, but the analysis has samples of a data set, which no images are sampled from.
    case dataWithoutImages
    /// The scorer needs RGB images.
    case clipNeedsImages(channels: Int)
    /// The scorer needs the prompts of the images.
    case clipNeedsPrompts
    /// A file of embeddings has changed since a table was made from it.
    case embeddingsChanged(path: String)
    /// The settings of a table are inconsistent: prompts, seeds, timesteps or size.
    case generation
    /// A table was made with an unknown sampler.
    case sampler(String)
    /// The journal has the measurements of an unfinished analysis, and neither resuming nor overwriting was requested.
    case unfinished(journal: String, done: Int)
    /// Another process is writing to this journal.
    case inUse(journal: String)
    /// The journal belongs to another analysis; `option` differs.
    case differentRun(journal: String, option: String, saved: String, requested: String)
    /// A line of the journal, counted from 1, cannot be read.
    case journalLine(journal: String, line: Int, reason: String)
    /// The journal cannot be opened, read or written; `reason` is the system's text.
    case journalFile(journal: String, reason: String, operation: JournalOperation)
    /// The table cannot be written; the journal with all measurements is kept.
    case table(RecipeError, journal: String)
}

/// The operation on a journal that failed.
public enum JournalOperation: Equatable, Sendable {
    case opening, reading, writing
}

extension SensitivityError {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .alreadyQuantized(let path, let bits):
            "\(path): already quantized to \(bits) bits; analyze the full-precision model"
        case .notStaged(let architecture):
            "\(architecture): cannot be run stage by stage, which an analysis needs; expected a StagedDenoiser"
        case .conditionChannels(let inChannels, let outChannels):
            "model: in_channels \(inChannels), out_channels \(outChannels): its samples depend on an image in "
                + "\(inChannels - outChannels) further channels, which prompts do not give; analyze it with samples of "
                + "a data set (--data)"
        case .predictedChannels(let inChannels, let outChannels):
            "model: in_channels \(inChannels), out_channels \(outChannels): models that predict more than the noise, "
                + "such as learned variances, cannot be sampled; expected \(inChannels) output channels"
        case .noLayers(let pattern):
            "layers: the path of no quantized layer matches \"\(pattern)\"; list the paths with `bitsfusion info`"
        case .emptyShard(let shard, let layers):
            "shard \(shard): there are only \(layers) layers; use at most as many shards"
        case .pattern(let pattern):
            "layers: \"\(pattern)\" is not a regular expression"
        case .referenceNotFinite:
            "the full-precision model's images or predictions contain NaN or infinity; check the model and the "
                + "guidance scale"
        case .images(let requested, let available):
            "images: expected at least 1"
                + (available.map { " and at most \($0), the number of prompts or embeddings" } ?? "")
                + ", found \(requested)"
        case .prompts(let found, let embeddings):
            "prompts: expected \(embeddings), one for each row of the embeddings, found \(found)"
        case .dataWithoutImages:
            "data set: predictions are compared on its samples, images are not; measure noise or fisher"
        case .clipNeedsImages(let channels):
            "CLIP score: expected a model of RGB images, or of latents with a VAE, found one of \(channels) channels; "
                + "leave out the scorer"
        case .clipNeedsPrompts:
            "CLIP score: embeddings without prompts; give the prompt of each row, or leave out the scorer"
        case .embeddingsChanged(let path):
            "\(path): changed since the table was made; analyze again"
        case .generation:
            "generation: prompts, seeds, timesteps and size are inconsistent; analyze again"
        case .sampler(let name):
            "generation.sampler: unknown sampler \"\(name)\"; analyze again"
        case .unfinished(let journal, let done):
            "\(journal): an unfinished analysis with \(done) measurements; continue it with --resume, or discard it "
                + "with "
                + "--overwrite"
        case .inUse(let journal):
            "\(journal): another process is writing to it; wait for it, or choose another output with -o"
        case .differentRun(let journal, let option, let saved, let requested):
            "\(journal): the analysis was started with \(option) \(saved), not \(requested); resume with the same, or "
                + "discard it with --overwrite"
        case .journalLine(let journal, let line, let reason):
            "\(journal): line \(line): \(reason); discard the journal with --overwrite"
        case .journalFile(let journal, let reason, .opening):
            "\(journal): cannot be created: \(reason); check the folder of the output"
        case .journalFile(let journal, let reason, .reading): "\(journal): cannot be read: \(reason)"
        case .journalFile(let journal, let reason, .writing):
            "\(journal): cannot be written: \(reason); free disk space and continue with --resume"
        case .table(let error, let journal):
            "\(error); the measurements are saved in \(journal): continue with --resume"
        }
    }
}

extension SensitivityError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noLayers, .pattern, .emptyShard, .images, .prompts, .dataWithoutImages, .clipNeedsImages,
            .clipNeedsPrompts:
            .usage
        case .notStaged, .conditionChannels, .predictedChannels, .alreadyQuantized, .referenceNotFinite,
            .embeddingsChanged, .generation, .sampler,
            .differentRun,
            .journalLine:
            .badData
        case .unfinished, .inUse, .journalFile(_, _, .opening): .cannotCreate
        case .journalFile: .inputOutput
        case .table(let error, _): error.category
        }
    }
}
