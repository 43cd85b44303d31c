// SPDX-License-Identifier: Apache-2.0
// Memory-saving options: checkpointing changes no bit, runs with 16-bit teachers and moments resume bit-equal, and
// steps after the first ones allocate no memory.

import Checkpoints
import DataSets
import Foundation
import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import ShapesWorld
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct MemorySavingTests {
    private func options(_ change: (inout StageOptions) -> Void) -> StageOptions {
        var options = TinyDistillation.options(averageDecay: 0.9)
        options.training.microBatchSize = 2
        change(&options)
        return options
    }

    /// The result of a run: student, moments, average and loss curve.
    private func outcome(_ trainer: DistillationTrainer) -> [String: [UInt32]] {
        var result = trainer.model.denoiser.store.bits
        for (name, moments) in trainer.loop.optimizer.moments {
            result[name + " first"] = moments.first.values.map(\.bitPattern)
            result[name + " second"] = moments.second.values.map(\.bitPattern)
            result[name + " average"] = trainer.loop.average?.averages[name]?.values.map(\.bitPattern)
        }
        result["history"] = trainer.loop.history.flatMap { record in
            ([record.loss, record.gradientNorm] + record.parts.sorted { $0.key < $1.key }.map(\.value))
                .map(\.bitPattern)
        }
        return result
    }

    @Test("runs with and without checkpointing are bit-equal", arguments: DistillationStage.allCases)
    func checkpointing(stage: DistillationStage) throws {
        let outcomes = try GradientCheckpointing.allCases.map { mode -> [String: [UInt32]] in
            let trainer = try TinyDistillation.trainer(
                stage, options { $0.training.checkpointing = mode })
            #expect(trainer.model.denoiser.checkpointing == mode)
            try TinyDistillation.run(trainer)
            return outcome(trainer)
        }
        #expect(outcomes[0].keys == outcomes[1].keys)
        for (name, bits) in outcomes[0] { #expect(bits == outcomes[1][name], "\(name)") }
    }

    @Test("a run with all memory options resumes bit-equal, also with another checkpointing option", .slow)
    func resumes() throws {
        let lean = options {
            $0.training.checkpointing = .blocks
            $0.training.momentDtype = .bfloat16
            $0.teacherDtype = .bfloat16
        }
        let uninterrupted = try TinyDistillation.trainer(.one, lean)
        try TinyDistillation.run(uninterrupted)
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        let interrupted = try TinyDistillation.trainer(.one, lean)
        try TinyDistillation.run(interrupted, until: 3)
        try interrupted.write(to: path, manifest: TinyModel.manifest)
        let state = try #require(try CheckpointReader(path, formats: [.student]).trainingState())
        #expect(state.tensors.stored("first_moments/conv_in.weight")?.type == .bfloat16)
        #expect(state.tensors.stored("second_moments/conv_in.weight")?.type == .bfloat16)
        #expect(state.tensors.stored("values/conv_in.weight")?.type == .float32)
        for mode in GradientCheckpointing.allCases {
            var options = lean
            options.training.checkpointing = mode
            let resumed = try TinyDistillation.trainer(.one, options)
            #expect(try resumed.resume(from: path))
            #expect(resumed.loop.step == 3)
            try TinyDistillation.run(resumed)
            let (found, expected) = (outcome(resumed), outcome(uninterrupted))
            for (name, bits) in expected { #expect(found[name] == bits, "\(name)") }
        }
        #expect(throws: TrainingStateError.self) {
            var other = lean
            other.teacherDtype = .float32
            _ = try TinyDistillation.trainer(.one, other).resume(from: path)
        }
    }

    @Test("the teacher's linear and convolution weights are stored in bfloat16, its other parameters are unchanged")
    func teacher() throws {
        let (plain, held) = (try TinyDistillation.teacher(), try TinyDistillation.teacher())
        _ = try TinyDistillation.trainer(.one, options { $0.teacherDtype = .bfloat16 }, teacher: held)
        for (layer, other) in zip(held.denoiser.store.weightedLayers, plain.denoiser.store.weightedLayers) {
            let half = try #require(layer.weight as? Weight16)
            #expect(half.type == .bfloat16)
            #expect(half.name == layer.path + ".weight")
            // 8 significant bits.
            for (a, b) in zip(half.tensor().values, other.weight.tensor().values) {
                #expect(abs(a - b) <= abs(b) * 0x1p-8)
            }
            #expect(layer.bias?.value.values == other.bias?.value.values)
        }
        #expect(held.denoiser.store.parameters.allSatisfy { !$0.isTrainable })
        let before = held.denoiser.store.weightedLayers.map { ObjectIdentifier($0.weight) }
        held.denoiser.store.holdWeights(as: .bfloat16)
        #expect(held.denoiser.store.weightedLayers.map { ObjectIdentifier($0.weight) } == before)
    }

    @Test("invalid settings are errors that name the key")
    func refusals() throws {
        let changes: [(DistillationStage, String, (inout StageOptions) -> Void)] = [
            (.two, "teacherDtype", { $0.teacherDtype = .bfloat16 }),
            (.one, "teacherDtype", { $0.teacherDtype = .float16 }),
            (.one, "training.momentDtype", { $0.training.momentDtype = .float16 }),
            (.one, "training.precision", { $0.training.precision = .float16 }),
        ]
        for (stage, key, change) in changes {
            let error = #expect(throws: TrainingConfigError.self) {
                _ = try TinyDistillation.trainer(stage, options(change))
            }
            guard case .range(key, _, _) = error else {
                Issue.record("\(key): \(String(describing: error))")
                continue
            }
        }
    }

    @Test("the memory options are optional keys")
    func optionalKeys() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var text = String(decoding: try encoder.encode(DistillationOptions.shapes.stage1), as: UTF8.self)
        for key in [#""momentDtype":"float32","#, #""checkpointing":"none","#, #""teacherDtype":"float32","#] {
            #expect(text.contains(key))
            text = text.replacingOccurrences(of: key, with: "")
        }
        let read = try JSONDecoder().decode(StageOptions.self, from: Data(text.utf8))
        #expect(read == DistillationOptions.shapes.stage1)
    }

    @Test("a stage I step with all memory options holds values, gradients, bfloat16 moments and little else", .slow)
    func bound() async {
        await #expect(processExitsWith: .success) {
            // A UNet in which weights outweigh activations, as Stable Diffusion's do: 14 million of them.
            let json = """
                {"sample_size": 8, "block_out_channels": [32, 64, 128, 256], "attention_head_dim": 4,
                 "cross_attention_dim": 32, "norm_num_groups": 8}
                """
            let config = try UNet2DConditionConfig(json: Data(json.utf8))
            func pipeline() throws -> DiffusionPipeline {
                let store = ParameterStore(provider: RandomParameterProvider(seed: 1))
                let unet = try UNet2DConditionModel(config: config, parameters: ParameterPath(store))
                return try DiffusionPipeline(denoiser: unet, textEncoder: nil, schedulerJSON: nil)
            }
            let student = try pipeline()
            try student.denoiser.quantize(
                recipe: .uniform(BitWidth(2), over: config.inventory()),
                initialization: .paper)
            var options = TinyDistillation.options(steps: 2)
            options.training.batchSize = 2
            options.training.microBatchSize = 1
            options.training.momentDtype = .bfloat16
            options.teacherDtype = .bfloat16
            var random = Philox(seed: 3)
            let data = StoredDistillationData(
                latents: random.normal([4, 4, 8, 8]), encoderHiddenStates: random.normal([4, 5, 32]),
                emptyHiddenStates: random.normal([1, 5, 32]))
            let trainer = try DistillationTrainer(
                student: student, teacher: pipeline(), data: data, stage: .one, options: options)
            BlockPool.shared.trim()
            try trainer.run(progress: { _, _, _ in }, save: {}, shouldStop: { false })
            let weights = student.denoiser.store.elementCount
            precondition(weights > 10_000_000, "\(weights) weights")
            // 4 bytes each for value and gradient, 2 for each moment; size classes waste an eighth at most. A tape that
            // kept the quantized weights would hold 4 bytes more.
            let peak = BlockPool.shared.peakLiveBytes
            precondition(peak < weights * 12 * 9 / 8, "\(Double(peak) / Double(weights)) bytes a weight")
        }
    }

    @Test("after a few steps, training allocates no more memory", .slow, arguments: [1, 2])
    func steady(microBatches: Int) async {
        await #expect(processExitsWith: .success) { [microBatches] in
            // Two threads need two scratch blocks in whichever step they first happen to overlap.
            Threads.count = 1
            var options = TinyDistillation.options(steps: 40, averageDecay: 0.9)
            options.training.microBatchSize = 4 / microBatches
            let trainer = try TinyDistillation.trainer(.one, options)
            var (allocations, faults): ([Int], [Int]) = ([], [])
            try trainer.run(
                progress: { _, _, _ in
                    allocations.append(BlockPool.shared.allocations)
                    faults.append(newPages())
                }, save: {}, shouldStop: { false })
            precondition(allocations.count == 40 && allocations[0] > 0, "forty steps")
            precondition(Set(allocations[2...]).count == 1, "steps 3 to 40 allocate: \(allocations)")
            // Other allocations, such as nodes of the tape, reuse memory of the process. The loss curve grows by a page
            // occasionally.
            precondition(faults[39] - faults[9] <= 8, "pages of steps 10 to 40: \(faults[39] - faults[9])")
        }
    }
}

/// The number of page faults of the process so far.
private func newPages() -> Int {
    var usage = rusage()
    #if os(Linux)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    #else
        getrusage(RUSAGE_SELF, &usage)
    #endif
    return Int(usage.ru_minflt)
}
