// SPDX-License-Identifier: Apache-2.0
// A second architecture, registered at run time, through analysis, allocation, quantization, stage I, files and
// sampling. Only the import of whole pipeline folders expects a UNet.

import Analyzer
import BitAllocator
import Checkpoints
import DataSets
import Files
import Foundation
import Layers
import Networks
import Optimizers
import QAT
import Quantization
import Recipes
import ShapesWorld
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct SecondDenoiserTests {
    init() { DenoiserRegistry.register(TinyTransformerConfig.architecture) { try TinyTransformerConfig.reading($0) } }

    private static let json = """
        {"_class_name": "TinyTransformer", "in_channels": 3, "sample_size": 8, "hidden_size": 16,
         "context_size": \(TinyModel.crossAttentionDim)}
        """

    private func pipeline(seed: UInt64 = 1) throws -> DiffusionPipeline {
        let store = ParameterStore(provider: RandomParameterProvider(seed: seed))
        let denoiser = try DenoiserRegistry.config(json: Self.json).model(ParameterPath(store), timeFeatures: nil)
        let text = try TinyModel.pipeline()
        return try DiffusionPipeline(
            denoiser: denoiser, textEncoder: text.textEncoder, tokenizerName: text.tokenizerName, schedulerJSON: nil)
    }

    private func table(_ pipeline: DiffusionPipeline) throws -> SensitivityTable {
        let model = FileReference(path: "tiny.h5", sha256: String(repeating: "a", count: 64))
        let sweep = try SensitivitySweep(
            pipeline: pipeline, model: model,
            calibration: CalibrationSet(promptCount: 2, pipeline: pipeline), clip: nil,
            options: SensitivityOptions(
                measures: [.images, .noise, .fisher],
                generation: GenerationOptions(sampler: .ddim, steps: 2, guidanceScale: 1.5), timestepsPerImage: 2),
            manifest: TinyModel.manifest)
        return try #require(try sweep.run())
    }

    private func images(_ pipeline: DiffusionPipeline) throws -> [Float] {
        try pipeline.generate(
            PromptEmbeddings(prompts: ["a red circle"], pipeline: pipeline), seeds: [3],
            options: GenerationOptions(sampler: .ddim, steps: 3, guidanceScale: 2)
        ).values
    }

    /// Writes with `write`, and reads what it wrote.
    private func written(_ write: (String) throws -> Void) throws -> DiffusionPipeline {
        let folder = try TemporaryFolder(), path = folder.file("model.h5")
        try write(path)
        return try DiffusionPipeline(contentsOf: path)
    }

    @Test("an architecture that is not registered is an error that names the registered ones")
    func unregistered() throws {
        let error = #expect(throws: ConfigError.self) {
            try DenoiserRegistry.config(json: #"{"_class_name": "FluxTransformer2DModel"}"#)
        }
        guard case .unsupported("_class_name", "\"FluxTransformer2DModel\"", let known) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(known.contains("UNet2DConditionModel") && known.contains("TinyTransformer"))
    }

    @Test("a model of the second architecture comes back from its file bit for bit")
    func file() throws {
        let pipeline = try pipeline()
        let read = try written { try pipeline.writeModel(to: $0, manifest: TinyModel.manifest) }
        #expect(read.denoiser is TinyTransformer)
        #expect(read.seenBits == pipeline.seenBits)
        #expect(try images(read) == images(pipeline))
    }

    @Test("its exported folder is imported again under the component's name")
    func folder() throws {
        let folder = try TemporaryFolder(), path = folder.file("model.h5"), again = folder.file("again.h5")
        let pipeline = try pipeline()
        try pipeline.writeModel(to: path, manifest: TinyModel.manifest)
        let component = TinyTransformerConfig.component
        try DiffusersExport(CheckpointReader(path), component: component).write(
            to: DiffusersFolderWriter(folder.file("exported")))
        try PipelineSource(folder.file("exported")).writeModel(to: again, manifest: TinyModel.manifest)
        #expect(try CheckpointReader(again).header.component == component)
        #expect(try DiffusionPipeline(contentsOf: again).denoiser.store.bits == pipeline.denoiser.store.bits)
    }

    @Test("passes from a later stage are bit-equal to whole passes")
    func stages() throws {
        let denoiser = try #require(try pipeline().denoiser as? TinyTransformer)
        var random = Philox(seed: 4)
        let (sample, context) = (random.normal([2, 3, 8, 8]), random.normal([2, 5, TinyModel.crossAttentionDim]))
        let times = Tensor([100, 700], shape: [2])
        let expected = denoiser(sample, timesteps: times, encoderHiddenStates: context)
        let conditioning = denoiser.conditioning(
            timesteps: times, encoderHiddenStates: context, addedConditions: nil, batch: 2)
        for first in 0...denoiser.stageCount {
            var state = denoiser.begin(sample)
            denoiser.run(&state, stages: 0..<first, conditioning)
            denoiser.run(&state, stages: first..<denoiser.stageCount, conditioning)
            #expect(state.hidden.values == expected.values)
        }
    }

    @Test("analysis, allocation, quantization, stage I, packing and sampling work for the second architecture")
    func wholeMethod() throws {
        let teacher = try pipeline()
        let table = try table(teacher)
        #expect(Set(table.layers.map(\.path.rawValue)) == Set(teacher.denoiser.quantizedLayers.map(\.path)))
        #expect(table.layers.filter { $0.role == .firstOrLast }.map(\.path) == ["pos_embed.proj", "proj_out"])
        #expect(table.inventory?.cachesTimeFeatures == false)
        #expect(Set(table.sums.map(\.group)) == [.selfAttention, .feedForward, .firstOrLast, .other])

        let recipe = try allocateBits(table, budget: BitBudget(averageBits: 8, timeFeatures: .layersKept)).recipe
        #expect(recipe.layers["proj_out"] == BitWidth(8))

        let student = try pipeline()
        try student.denoiser.quantize(recipe: recipe, initialization: .paper)
        #expect(student.recipe?.layers == recipe.layers)
        let before = student.denoiser.store.bits
        try train(student, teacher: teacher)
        for (name, bits) in student.denoiser.store.bits {
            #expect((bits == before[name]) == name.hasPrefix("time_embed."), "\(name)")
        }

        let read = try written { try student.writeStudent(to: $0, manifest: TinyModel.manifest) }
        #expect(read.seenBits == student.seenBits)
        let packed = try written {
            try student.writePacked(
                to: $0, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: nil))
        }
        #expect(packed.isPacked && packed.recipe?.layers == recipe.layers)
        let verification = try PackedVerification(packed, isPackedFrom: student, seed: 1)
        #expect(verification.isEqual, "\(verification.differences)")
        packed.activations = .float32
        expectClose(try images(packed), try images(student), Tolerance(absolute: 1e-4, relative: 1e-4), "packed")
    }

    /// Three steps of stage I, with the feature loss over both blocks.
    private func train(_ student: DiffusionPipeline, teacher: DiffusionPipeline) throws {
        var random = Philox(seed: 77)
        let data = StoredDistillationData(
            latents: random.normal([8, 3, 8, 8]),
            encoderHiddenStates: random.normal([8, 5, TinyModel.crossAttentionDim]),
            emptyHiddenStates: random.normal([1, 5, TinyModel.crossAttentionDim]))
        let options = StageOptions(
            training: TrainingOptions(
                steps: 3, batchSize: 4, learningRate: 2e-3,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                weightDecay: 0.01, checkpointing: .blocks, seed: 11),
            scaleLearningRate: 1e-3)
        let trainer = try DistillationTrainer(
            student: student, teacher: teacher, data: data, stage: .one, options: options)
        var losses: [LossRecord] = []
        try trainer.run(progress: { losses.append($2) }, save: {}, shouldStop: { false })
        #expect(losses.allSatisfy { ($0.parts["feature"] ?? 0) > 0 })
    }
}
