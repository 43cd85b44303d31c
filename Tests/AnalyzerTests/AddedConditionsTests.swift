// SPDX-License-Identifier: Apache-2.0
// Analyses of models that take more than noise and text: SDXL's added conditions pass through every measurement, and
// models with condition channels are refused before work starts.

import Checkpoints
import Foundation
import Networks
import Pipelines
import Recipes
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Analyzer

@Suite struct AddedConditionsTests {
    /// The tensors of an embeddings file of two prompts for `TinyModel.addedConfig()`, with `changes`; nil leaves a
    /// tensor out.
    private func tensors(_ changes: [String: Tensor?] = [:]) -> [String: Tensor] {
        var random = Philox(seed: 3)
        let width = TinyModel.textEmbedsDim
        var tensors: [String: Tensor?] = [
            "encoder_hidden_states": random.normal([2, 5, 12]),
            "negative_encoder_hidden_states": random.normal([1, 5, 12]),
            "text_embeds": random.normal([2, width]), "negative_text_embeds": .zeros([1, width]),
            "time_ids": Tensor([64, 64, 0, 0, 64, 64], shape: [1, 6]),
        ]
        tensors.merge(changes) { $1 }
        return tensors.compactMapValues { $0 }
    }

    private func write(_ tensors: [String: Tensor], to path: String) throws {
        let writer = try SafetensorsWriter(
            path, tensors: tensors.mapValues { StoredTensor(type: .float32, shape: $0.shape) })
        for (key, tensor) in tensors {
            try tensor.withUnsafeBufferPointer { try writer.write(key, UnsafeRawBufferPointer($0)) }
        }
        try writer.finish()
    }

    private func calibration(
        _ tensors: [String: Tensor], _ pipeline: DiffusionPipeline
    ) throws -> CalibrationSet {
        try TemporaryFolder.with { folder in
            try write(tensors, to: folder.file("e.safetensors"))
            return try CalibrationSet(embeddingsFile: folder.file("e.safetensors"), seed: 4, pipeline: pipeline)
        }
    }

    private func sweep(_ calibration: CalibrationSet, _ pipeline: DiffusionPipeline) throws -> SensitivitySweep {
        let model = FileReference(path: "xl.h5", sha256: "0")
        return try SensitivitySweep(
            pipeline: pipeline, model: model, calibration: calibration, clip: nil,
            options: SensitivityOptions(
                bits: [BitWidth(2)], measures: [.images, .noise, .fisher],
                generation: GenerationOptions(sampler: .ddim, steps: 2, guidanceScale: 2), timestepsPerImage: 2,
                tuning: LayerTuningOptions(steps: 1), layerPattern: #"mid_block.*0\.attn1\.to_v$"#),
            manifest: RunManifest(toolVersion: "0", commandLine: [], seed: 4, inputs: [model]))
    }

    @Test("SDXL's conditions are read, one row of sizes for all images, those of negative prompts by default the same")
    func reading() throws {
        let pipeline = try TinyModel.pipeline(TinyModel.addedConfig())
        let added = try #require(try calibration(tensors(), pipeline).conditions.added)
        let sizes: [Float] = [64, 64, 0, 0, 64, 64]
        #expect(added.conditional.textEmbeds.values == tensors()["text_embeds"]?.values)
        #expect(added.unconditional.textEmbeds.values == [Float](repeating: 0, count: 2 * TinyModel.textEmbedsDim))
        #expect(added.conditional.timeIDs.values == sizes + sizes)
        #expect(added.unconditional.timeIDs.values == sizes + sizes)
        let own = tensors(["negative_time_ids": .full([2, 6], 32)])
        let negative = try #require(try calibration(own, pipeline).conditions.added).unconditional
        #expect(negative.timeIDs.values == [Float](repeating: 32, count: 12))
    }

    @Test("one layer of such a model is analyzed by images, predictions and gradients, with fine-tuning")
    func analysis() throws {
        let pipeline = try TinyModel.pipeline(TinyModel.addedConfig())
        func scores(_ changes: [String: Tensor?] = [:]) throws -> SensitivityScores {
            let table = try #require(try sweep(calibration(tensors(changes), pipeline), pipeline).run())
            #expect(table.layers.count == 1)
            return try #require(table.layers.first?.bits[BitWidth(2)])
        }
        let found = try scores()
        #expect((found.mse ?? 0) > 0 && (found.noise ?? 0) > 0 && (found.fisher ?? 0) > 0)
        #expect(try scores() == found)
        // Each condition has an effect on all measurements.
        var random = Philox(seed: 9)
        let others: [String: Tensor] = [
            "text_embeds": random.normal([2, TinyModel.textEmbedsDim]),
            "negative_text_embeds": random.normal([1, TinyModel.textEmbedsDim]), "time_ids": .full([1, 6], 7),
            "negative_time_ids": .full([1, 6], 7),
        ]
        for (key, tensor) in others {
            let other = try scores([key: tensor])
            #expect(other.mse != found.mse && other.noise != found.noise && other.fisher != found.fisher, "\(key)")
        }
    }

    @Test("conditions that are missing or of another shape are errors in one line that say how to make them")
    func unfitting() throws {
        let pipeline = try TinyModel.pipeline(TinyModel.addedConfig())
        let reason = "addition_embed_type \"text_time\""
        for (key, neededBy) in [
            ("time_ids", reason), ("text_embeds", reason), ("negative_text_embeds", "classifier-free guidance"),
        ] {
            let error = #expect(throws: DenoiserInputError.self) {
                _ = try calibration(tensors([key: nil]), pipeline)
            }
            #expect(error == .missing(name: key, neededBy: neededBy))
            let text = error?.description ?? ""
            #expect(!text.contains("\n") && !text.hasSuffix("add it"), "\(text)")
        }
        #expect(
            throws: DenoiserInputError.shape(name: "text_embeds", expected: "[2, 10]", found: [2, 9])
        ) { try calibration(tensors(["text_embeds": .zeros([2, 9])]), pipeline) }
        #expect(
            throws: DenoiserInputError.shape(
                name: "time_ids", expected: "[2, I] with I below 34 / 4", found: [2, 9])
        ) { try calibration(tensors(["time_ids": .zeros([2, 9])]), pipeline) }
        #expect(
            throws: PipelineError.embeddingShape(
                key: "negative_text_embeds", expected: "[2, 10] or one row of it", found: [3, 10])
        ) { try calibration(tensors(["negative_text_embeds": .zeros([3, 10])]), pipeline) }
    }

    @Test("a sweep of conditions without SDXL's is refused before it starts")
    func missingConditions() throws {
        let pipeline = try TinyModel.pipeline(TinyModel.addedConfig())
        let plain = try calibration(tensors(), TinyModel.pipeline(TinyModel.config(channels: 4)))
        #expect(plain.conditions.added == nil)
        #expect(
            throws: DenoiserInputError.missing(name: "time_ids", neededBy: "addition_embed_type \"text_time\"")
        ) { try sweep(plain, pipeline) }
    }

    @Test("a model whose samples depend on an image, or that predicts more than noise, is refused before it starts")
    func channels() throws {
        let inpainting = try TinyModel.pipeline(TinyModel.config(channels: 4, condition: 5))
        let error = SensitivityError.conditionChannels(inChannels: 9, outChannels: 4)
        #expect(throws: error) { try inpainting.checkCanBeAnalyzed() }
        #expect(throws: error) { try sweep(calibration(tensors(), inpainting), inpainting) }
        #expect(error.category == .badData && !error.description.contains("\n"))
        let json = String(decoding: try TinyModel.config(channels: 4).json, as: UTF8.self)
            .replacing("\"out_channels\": 4", with: "\"out_channels\": 8")
        let variances = try TinyModel.pipeline(UNet2DConditionConfig(json: Data(json.utf8)))
        #expect(throws: SensitivityError.predictedChannels(inChannels: 4, outChannels: 8)) {
            try variances.checkCanBeAnalyzed()
        }
    }

    @Test("the random streams are those of earlier versions, and no two draws share one")
    func streams() {
        let streams = [
            AnalysisStream.measuring.timesteps, AnalysisStream.measuring.noise, AnalysisStream.tuning.timesteps,
            AnalysisStream.tuning.noise,
        ]
        #expect(streams == [0x4E01, 0x4E02, 0x7E01, 0x7E02])
        let probes = (0..<1000).map { AnalysisStream.signs(probe: $0) }
        #expect(probes.prefix(4) == [0xF15, 0xF16, 0xF17, 0xF18])
        #expect(Set(streams + probes + [0]).count == 1005)
    }
}
