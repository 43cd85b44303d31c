// SPDX-License-Identifier: Apache-2.0
// The texts of all errors of documents and of the allocation, recorded in Snapshots/library-errors.txt, and those of
// data sets, of images and of runs that cannot go on, in Snapshots/data-errors.txt.

import BitsFusion
import Foundation
import Testing

@Suite("Error texts")
struct ErrorTextTests {
    private static let recipe: [RecipeError] = [
        .fileMissing, .unreadable(reason: "Permission denied"), .unwritable(reason: "Permission denied"),
        .writeFailed(reason: "No space left on device", hadFile: true),
        .writeFailed(reason: "No space left on device", hadFile: false),
        .wrongFormat(expected: "bitsfusion-recipe", found: "bitsfusion-sensitivity"),
        .wrongFormat(expected: "bitsfusion-recipe", found: nil),
        .unsupportedVersion(format: "bitsfusion-recipe", expected: 2, found: 1),
        .unsupportedVersion(format: "bitsfusion-recipe", expected: 2, found: 3),
        .malformed(location: "layers: conv_in", reason: "expected a whole number of bits"),
        .malformed(location: "", reason: "not valid JSON, or cut off; make the file again"),
        .unknownLayer(path: "mid.a", model: "sd15.h5"), .missingLayer(path: "mid.a", model: "sd15.h5"),
        .unknownLayer(path: "mid.a"), .missingLayer(path: "mid.a"), .duplicateLayer(path: "mid.a"),
        .notQuantizable(path: "mid.time_emb_proj", role: .timeProjection),
        .bitsOutOfRange(path: "conv_in", found: 9),
        .nonFinite(path: "mid.a", field: "bits.1.mse", found: "nan"),
        .negative(path: "mid.a", field: "bits.1.mse", found: -1),
        .weightCount(path: "mid.a", expected: 10, found: 20),
        .otherAnalysis(field: "generation.steps", expected: "2", file: "a.json", found: "3"),
        .inFile(name: "recipe.json", .fileMissing),
    ]

    private static let allocation: [AllocationError] = [
        .infeasible(requested: 1.2, minimum: 1.58496, maximum: 4.1),
        .infeasibleSize(requested: 1000, minimum: 2000, maximum: 3000), .infeasiblePSNR(requested: 60, maximum: 41.5),
        .invalidBudget(-1), .invalidSteps(-1), .sizeWithoutInventory, .psnrNeedsImages(.noise), .noImages,
        .pattern("("),
        .pinnedNothing("^conv_in$"), .invalidEta(.infinity),
        .unmeasuredLayer(path: "mid.a", bits: [BitWidth(1), BitWidth(2)]),
        .missingScore(path: "mid.a", bits: BitWidth(2), metric: .noise), .scoresTooLarge,
        .table(.missingLayer(path: "mid.a")),
    ]

    private static let data: [any CategorizedError] = [
        DataSetError.wrongKind(file: "set.h5", found: .safetensors),
        DataSetError.missing(file: "set.h5", name: "latents", contents: "samples [N, 4, H, W]"),
        DataSetError.shape(file: "set.h5", name: "latents", expected: "[N, 4, H, W]", found: [8, 3, 64, 64]),
        DataSetError.count(file: "set.h5", name: "time_ids", samples: 8, found: 1),
        DataSetError.elementType(file: "set.h5", name: "latents", found: "float64"),
        DataSetError.notFinite(file: "set.h5", name: "latents", sample: 3, count: 2),
        DataSetError.tooSmall(file: "set.h5", found: [8, 4, 2, 2], halvings: 3),
        DataSetError.notALatentSet(file: "set.h5"), DataSetError.version(file: "set.h5", expected: 1, found: 2),
        DataSetError.noSamples(skipped: 3),
        DataSetError.value(
            file: "set.h5", name: "captions/input_ids", sample: 3, expected: "token ids from 0 to 49407",
            found: "50000"),
        DataSetError.otherModel(
            file: "set.h5", property: "text encoders", expected: "text_encoder, text_encoder_2",
            found: "text_encoder"),
        DataSetError.unsuitableModel(reason: "models of this kind need pairs of images; write a set with h5py"),
        DataSetError.encodingNotFinite,
        DataSetError.tooManySkipped(limit: 100, last: "a.png", reason: "a.png: damaged PNG image"),
        TrainingStateError.differentRun([
            SettingDifference(key: "options.training.seed", saved: "0", requested: "9")
        ]),
        TrainingStateError.scheduleLength(done: 40, saved: 40, requested: 60),
        TrainingStateError.stepsDone(done: 40, requested: 20), TrainingStateError.noFinalState(done: 40),
        PipelineError.otherTimeLayers(
            file: "other.h5", packed: "packed.h5", block: "mid_block.resnets.0", difference: 1.25, limit: 0x1p-10),
        PipelineError.otherDecoder(file: "other.h5", packed: "packed.h5", difference: 1.25, limit: 0x1p-10),
        PipelineError.otherConfig(part: .timeLayers, packed: "packed.h5"),
        PipelineError.otherConfig(part: .vaeEncoder, packed: "packed.h5"), PipelineError.missingPart(.vaeEncoder),
        PipelineError.unknownComponent(name: "text", known: ["unet", "vae"]),
        DiffusersFolderError.pipelineFolder(folder: "out", component: "unet"),
        SensitivityError.conditionChannels(inChannels: 9, outChannels: 4),
        SensitivityError.predictedChannels(inChannels: 4, outChannels: 8), SensitivityError.dataWithoutImages,
        SensitivityError.table(
            .inFile(name: "t.json", .writeFailed(reason: "File too large", hadFile: false)), journal: "t.json.partial"),
        FileError.writeFailed(path: "a.h5", code: ENOSPC, hadFile: true),
        FileError.writeFailed(path: "a.h5", code: ENOSPC, hadFile: false), FileError.inUse(path: "a.h5"),
        FileError.notALock(path: "a.h5.lock"), FileError.streamFailed(name: "standard output", code: ENOSPC),
        ConfigError.duplicateKey(document: "config.json", key: "in_channels"),
        CheckpointError.unusedKeys(file: "a.h5", keys: [""]),
        CheckpointError.unusedKeys(file: "a.h5", keys: ["\n", String(repeating: "x", count: 200)]),
        HDF5Error.object(file: "a.h5", object: String(repeating: "/a", count: 64), fault: .tooDeep(limit: 64)),
        DenoiserInputError.notFinite(name: "latents", index: 3, count: 2),
        DenoiserInputError.missing(name: "time_ids", neededBy: "addition_embed_type \"text_time\""),
        DenoiserInputError.missing(name: "text_embeds", neededBy: "addition_embed_type \"text_time\""),
        DenoiserInputError.missing(name: "negative_text_embeds", neededBy: "classifier-free guidance"),
        ImageFileError.notAnImage(file: "cat.jpg", found: .gif),
        ImageFileError.tooLarge(file: "cat.jpg", width: 20000, height: 10000, limit: 89_478_485),
        ImageFileError.truncated(file: "cat.jpg", format: .jpeg),
        ImageFileError.damaged(file: "cat.png", format: .png, message: "IDAT: CRC error"),
        ImageFileError.unsupported(file: "cat.jpg", format: .jpeg, feature: "12 bits per value"),
    ]

    private static let warnings: [DataSetWarning] = [
        .standardDeviation(5.4321),
        .size(found: SampleSize(height: 64, width: 96), expected: SampleSize(height: 64, width: 64)),
    ]

    @Test("the errors of data sets, images, resumed runs and other models have the recorded texts, each one line")
    func furtherTexts() throws {
        let lines =
            Self.data.map { "\(type(of: $0)): \(String(describing: $0))" }
            + Self.warnings.map { "DataSetWarning: \($0)" }
        #expect(lines.allSatisfy { !$0.contains("\n") })
        try Snapshot(name: "data-errors").expect(lines.joined(separator: "\n") + "\n")
    }

    @Test("the errors of documents and of the allocation have the recorded texts, each one line")
    func texts() throws {
        let lines = Self.recipe.map { "RecipeError: \($0)" } + Self.allocation.map { "AllocationError: \($0)" }
        #expect(lines.allSatisfy { !$0.contains("\n") })
        try Snapshot(name: "library-errors").expect(lines.joined(separator: "\n") + "\n")
    }
}
