// SPDX-License-Identifier: Apache-2.0
// Analyses of models without a text encoder: conditions come from a safetensors file.

import Checkpoints
import Foundation
import Networks
import Pipelines
import Recipes
import Tensors
import TestKit
import Testing

@testable import Analyzer

/// Writes an embeddings file.
private func write(_ positive: [Int], _ negative: [Int]?, to path: String) throws {
    var random = Philox(seed: 3)
    var tensors = ["encoder_hidden_states": random.normal(positive)]
    if let negative { tensors["negative_encoder_hidden_states"] = random.normal(negative) }
    let writer = try SafetensorsWriter(
        path, tensors: tensors.mapValues { StoredTensor(type: .float32, shape: $0.shape) })
    for (key, tensor) in tensors {
        try tensor.withUnsafeBufferPointer { try writer.write(key, UnsafeRawBufferPointer($0)) }
    }
    try writer.finish()
}

@Suite struct EmbeddingsTests {
    private func calibration(
        _ positive: [Int], _ negative: [Int]?, count: Int? = nil
    ) throws -> (CalibrationSet, DiffusionPipeline) {
        let pipeline = try TinyModel.pipeline(channels: 4, hasText: false)
        var made: CalibrationSet?
        try TemporaryFolder.with { folder in
            let path = folder.file("e.safetensors")
            try write(positive, negative, to: path)
            made = try CalibrationSet(embeddingsFile: path, count: count, seed: 40, pipeline: pipeline)
        }
        return (try #require(made), pipeline)
    }

    @Test("a latent model is analyzed with embeddings: no prompts, no CLIP drop, the file pinned")
    func sweep() throws {
        let (calibration, pipeline) = try calibration([3, 5, 12], [1, 5, 12], count: 2)
        #expect(calibration.seeds == [40, 41] && calibration.conditions.count == 2)
        let model = FileReference(path: "latent.h5", sha256: "0")
        let options = SensitivityOptions(
            bits: [BitWidth(2)], generation: GenerationOptions(sampler: .ddim, steps: 2),
            layerPattern: "to_v")
        let manifest = RunManifest(toolVersion: "0", commandLine: [], seed: 40, inputs: [model])
        let sweep = try SensitivitySweep(
            pipeline: pipeline, model: model, calibration: calibration, clip: nil, options: options,
            manifest: manifest)
        let table = try #require(try sweep.run())
        #expect(table.generation?.prompts.isEmpty == true)
        #expect(table.generation?.embeddings?.sha256.count == 64)
        #expect(table.layers.flatMap(\.bits.values).allSatisfy { ($0.mse ?? 0) > 0 })
        #expect(table.metrics == [.mse, .psnr])
        #expect(throws: SensitivityError.clipNeedsImages(channels: 4)) {
            try SensitivitySweep(
                pipeline: pipeline, model: model, calibration: calibration, clip: tinyClip(), options: options,
                manifest: manifest)
        }
    }

    @Test("prompts of one's own are taken in order, and those of embeddings let images be scored")
    func ownPrompts() throws {
        let words = ["a red circle", "a blue square", "a green triangle"]
        let own = try CalibrationSet(prompts: words, count: 2, seed: 7, pipeline: TinyModel.pipeline())
        #expect(own.prompts == Array(words[..<2]) && own.seeds == [7, 8] && own.conditions.count == 2)
        #expect(throws: SensitivityError.images(requested: 4, available: 3)) {
            try CalibrationSet(prompts: words, count: 4, pipeline: TinyModel.pipeline())
        }
        #expect(throws: SensitivityError.images(requested: 0, available: 0)) {
            try CalibrationSet(prompts: [], pipeline: TinyModel.pipeline())
        }
        try TemporaryFolder.with { folder in
            let path = folder.file("e.safetensors")
            try write([3, 5, 12], [1, 5, 12], to: path)
            let pipeline = try TinyModel.pipeline(hasText: false)
            let calibration = try CalibrationSet(
                embeddingsFile: path, prompts: words, count: 2, pipeline: pipeline)
            let model = FileReference(path: "pixels.h5", sha256: "0")
            let table = try #require(
                try SensitivitySweep(
                    pipeline: pipeline, model: model, calibration: calibration, clip: tinyClip(),
                    options: SensitivityOptions(
                        bits: [BitWidth(2)], generation: GenerationOptions(sampler: .ddim, steps: 2),
                        layerPattern: "to_v"),
                    manifest: RunManifest(toolVersion: "0", commandLine: [], seed: 0, inputs: [model])
                ).run())
            #expect(table.metrics == [.mse, .psnr, .perceptual, .clipDrop])
            #expect(table.generation?.prompts == Array(words[..<2]))
            #expect(throws: SensitivityError.prompts(found: 2, embeddings: 3)) {
                try CalibrationSet(
                    embeddingsFile: path, prompts: Array(words[..<2]), pipeline: pipeline)
            }
        }
    }

    @Test("a prompt for such a model says what to give instead") func prompt() throws {
        #expect(throws: PipelineError.noTextEncoder) {
            try CalibrationSet(promptCount: 1, pipeline: TinyModel.pipeline(hasText: false))
        }
    }

    @Test("embeddings of another width, other texts, and too few of them are refused") func unfitting() throws {
        #expect(
            throws: PipelineError.embeddingShape(
                key: "encoder_hidden_states", expected: "[B, T, 12]", found: [2, 5, 9])
        ) { try calibration([2, 5, 9], [2, 5, 9]) }
        #expect(
            throws: PipelineError.embeddingShape(
                key: "negative_encoder_hidden_states", expected: "[2, 5, 12] or one row of it",
                found: [2, 4, 12])
        ) { try calibration([2, 5, 12], [2, 4, 12]) }
        #expect(throws: SensitivityError.images(requested: 3, available: 2)) {
            try calibration([2, 5, 12], [2, 5, 12], count: 3)
        }
        #expect(
            throws: DenoiserInputError.missing(
                name: "negative_encoder_hidden_states", neededBy: "classifier-free guidance")
        ) { try calibration([2, 5, 12], nil) }
    }
}
