// SPDX-License-Identifier: Apache-2.0
// Runs of both stages on a tiny student: the loss decreases, the right parameters change, and runs resume bit-equal.

import Foundation
import Layers
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct DistillationTrainerTests {
    /// The mean loss of a stage over four fixed batches.
    private func loss(_ trainer: DistillationTrainer, teacher: DiffusionPipeline?) throws -> Float {
        let objective = DistillationObjective(
            teacher: teacher?.denoiser, student: trainer.model.denoiser, schedule: NoiseSchedule(),
            data: TinyDistillation.data(), stage: trainer.stage, options: trainer.options)
        return try withoutGradients {
            try (0..<4).reduce(0) { total, batch in
                var random = Philox(seed: 1234, stream: UInt64(batch))
                let part = MicroBatch(step: 0, samples: batch * 8..<(batch + 1) * 8)
                return total + (try objective(part, random: &random).total.item) / 4
            }
        }
    }

    @Test("thirty steps lower the loss on fixed batches", arguments: DistillationStage.allCases)
    func learns(stage: DistillationStage) throws {
        let teacher = try TinyDistillation.teacher()
        let trainer = try TinyDistillation.trainer(
            stage, TinyDistillation.options(steps: 30), teacher: teacher)
        let before = try loss(trainer, teacher: stage == .one ? teacher : nil)
        try TinyDistillation.run(trainer)
        let after = try loss(trainer, teacher: stage == .one ? teacher : nil)
        #expect(after < 0.7 * before, "\(before) to \(after)")
        #expect(trainer.loop.history.map(\.step) == [30])
    }

    @Test(
        "all parameters change except time layers, text encoder and teacher",
        arguments: DistillationStage.allCases)
    func moves(stage: DistillationStage) throws {
        let (student, teacher) = (try TinyDistillation.student(), try TinyDistillation.teacher())
        let before = student.denoiser.store.bits, text = student.textEncoder?.store.bits
        let ofTeacher = teacher.seenBits
        let trainer = try TinyDistillation.trainer(stage, student: student, teacher: teacher)
        try TinyDistillation.run(trainer, until: 3)
        let after = student.denoiser.store.bits
        #expect(before.keys == after.keys)
        var frozen = 0
        for (name, bits) in after {
            let isTimeLayer = name.hasPrefix("time_embedding.") || name.contains(".time_emb_proj.")
            #expect((bits == before[name]) == isTimeLayer, "\(name)")
            frozen += isTimeLayer ? 1 : 0
        }
        // Two embedding layers and a projection in each of 2 + 2 + 4 residual blocks, weight and bias each.
        #expect(frozen == 2 * (2 + 8))
        #expect(student.textEncoder?.store.bits == text)
        #expect(teacher.seenBits == ofTeacher)
    }

    @Test("scales stay positive for any step size, and reading a student does not change it")
    func positiveScales() throws {
        let student = try TinyDistillation.student()
        let trainer = try TinyDistillation.trainer(
            .two, TinyDistillation.options(scaleLearningRate: 0.05), student: student)
        try TinyDistillation.run(trainer, until: 3)
        let (_, scales) = student.denoiser.prepareForDistillation()
        let values = scales.flatMap(\.value.values)
        #expect(values.allSatisfy { $0 >= FakeQuantizedWeight.smallestScale })
        #expect(values.contains(FakeQuantizedWeight.smallestScale), "a scale was clamped")
        let before = student.denoiser.store.bits
        _ = student.seenBits
        #expect(student.denoiser.store.bits == before)
    }

    @Test("scales have their own learning rate")
    func scaleRate() throws {
        let student = try TinyDistillation.student()
        let before = student.denoiser.store.bits
        let trainer = try TinyDistillation.trainer(
            .one, TinyDistillation.options(scaleLearningRate: 0), student: student)
        try TinyDistillation.run(trainer, until: 2)
        for (name, bits) in student.denoiser.store.bits where name.hasSuffix(".scale") {
            #expect(bits == before[name], "\(name)")
        }
        #expect(student.denoiser.store.bits["conv_in.weight"] != before["conv_in.weight"])
        #expect(trainer.loop.optimizer.groups.map(\.weightDecay) == [0.01, 0])
    }

    @Test(
        "a run resumed from its file ends bit-equal to an uninterrupted one", .slow,
        arguments: DistillationStage.allCases, [nil, 0.9] as [Float?])
    func resumes(stage: DistillationStage, averageDecay: Float?) throws {
        let options = TinyDistillation.options(averageDecay: averageDecay)
        let uninterrupted = try TinyDistillation.trainer(stage, options)
        try TinyDistillation.run(uninterrupted)
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        let interrupted = try TinyDistillation.trainer(stage, options)
        try TinyDistillation.run(interrupted, until: 3)
        try interrupted.write(to: path, manifest: TinyModel.manifest)
        // The command resumes with the initial model or with the model of the file.
        for student in [try TinyDistillation.student(), try DiffusionPipeline(contentsOf: path)] {
            let resumed = try TinyDistillation.trainer(stage, options, student: student)
            #expect(try resumed.resume(from: path))
            #expect(resumed.loop.step == 3)
            try TinyDistillation.run(resumed)
            let (found, expected) = (student.denoiser.store.bits, uninterrupted.model.denoiser.store.bits)
            #expect(found.keys == expected.keys)
            for (name, bits) in found { #expect(bits == expected[name], "\(name)") }
            #expect(student.seenBits == uninterrupted.model.seenBits)
            for (name, moment) in uninterrupted.loop.optimizer.moments {
                let other = try #require(resumed.loop.optimizer.moments[name])
                #expect(other.first.values == moment.first.values, "\(name)")
                #expect(other.second.values == moment.second.values, "\(name)")
            }
            #expect(
                resumed.loop.average?.averages.mapValues(\.values)
                    == uninterrupted.loop.average?.averages.mapValues(\.values))
            #expect(resumed.loop.history == uninterrupted.loop.history)
            #expect(try resumed.loop.state(run: "").json == uninterrupted.loop.state(run: "").json)
            let finished = folder.file("finished.h5"), expectedFile = folder.file("expected.h5")
            try resumed.write(to: finished, manifest: TinyModel.manifest)
            try uninterrupted.write(to: expectedFile, manifest: TinyModel.manifest)
            #expect(
                try Data(contentsOf: URL(fileURLWithPath: finished))
                    == Data(contentsOf: URL(fileURLWithPath: expectedFile)), "the same file, byte by byte")
        }
    }

    @Test("a file contains the averaged student, and a finished run is not resumed")
    func finished() throws {
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        let options = TinyDistillation.options(steps: 3, averageDecay: 0.5)
        let trainer = try TinyDistillation.trainer(.two, options)
        try TinyDistillation.run(trainer)
        try trainer.write(to: path, manifest: TinyModel.manifest)
        let written = try DiffusionPipeline(contentsOf: path)
        #expect(written.seenBits == trainer.withFinalWeights { $0.seenBits })
        #expect(written.seenBits != trainer.model.seenBits)
        #expect(written.recipe?.layers == trainer.model.recipe?.layers)
        let other = try TinyDistillation.trainer(.two, options)
        let before = other.model.denoiser.store.bits
        #expect(try !other.resume(from: path))
        #expect(other.model.denoiser.store.bits == before)
        #expect(other.loop.step == 0)
    }

    @Test(
        "a finished stage that is continued ends with the file of a longer one", .slow,
        arguments: DistillationStage.allCases, [nil, 0.9] as [Float?])
    func continues(stage: DistillationStage, averageDecay: Float?) throws {
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        func trainer(_ steps: Int) throws -> DistillationTrainer {
            try TinyDistillation.trainer(stage, TinyDistillation.options(steps: steps, averageDecay: averageDecay))
        }
        let short = try trainer(3)
        try TinyDistillation.run(short)
        try short.write(to: path, manifest: TinyModel.manifest)
        let (longer, straight) = (try trainer(5), try trainer(5))
        #expect(try longer.resume(from: path))
        #expect(longer.loop.step == 3)
        for trainer in [longer, straight] { try TinyDistillation.run(trainer) }
        #expect(longer.model.denoiser.store.bits == straight.model.denoiser.store.bits)
        let found = folder.file("longer.h5"), expected = folder.file("straight.h5")
        try longer.write(to: found, manifest: TinyModel.manifest)
        try straight.write(to: expected, manifest: TinyModel.manifest)
        #expect(try folder.data("longer.h5") == folder.data("straight.h5"))
        #expect(try !trainer(2).resume(from: path), "all of its steps are done")
    }

    @Test("files of another stage, other settings or other bits are refused", .slow)
    func anotherRun() throws {
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        let trainer = try TinyDistillation.trainer(.one)
        try TinyDistillation.run(trainer, until: 1)
        try trainer.write(to: path, manifest: TinyModel.manifest)
        /// The keys of the settings that the error names.
        func refused(_ other: DistillationTrainer) -> [String] {
            let error = #expect(throws: TrainingStateError.self) { try other.resume(from: path) }
            guard case .differentRun(let differences) = error else { return [] }
            return differences.map(\.key)
        }
        #expect(refused(try TinyDistillation.trainer(.two)) == ["stage"])
        #expect(
            refused(try TinyDistillation.trainer(.one, TinyDistillation.options(featureWeight: 0.1)))
                == ["options.featureWeight"])
        #expect(
            refused(try TinyDistillation.trainer(.one, TinyDistillation.options(scaleLearningRate: 0.1)))
                == ["options.scaleLearningRate"])
        #expect(
            refused(try TinyDistillation.trainer(.one, TinyDistillation.options(learningRate: 0.1)))
                == ["options.training.learningRate"])
        let keys = refused(try TinyDistillation.trainer(.one, student: TinyDistillation.student(3)))
        #expect(keys.count > 20 && keys.allSatisfy { $0.hasPrefix("bits.") })
        var sparser = TinyDistillation.options()
        sparser.training.saveEvery += 1
        #expect(try TinyDistillation.trainer(.one, sparser).resume(from: path))
    }

    @Test("a run that diverges is an error, and its weights are finite")
    func diverges() throws {
        let trainer = try TinyDistillation.trainer(.one, TinyDistillation.options(learningRate: 1e30))
        let error = #expect(throws: TrainingError.self) { try TinyDistillation.run(trainer) }
        #expect(error == .diverged(step: 1, learningRate: 1e30))
        #expect(trainer.loop.step == 1)
        for parameter in trainer.model.denoiser.store.parameters {
            #expect(parameter.value.values.allSatisfy { $0.isFinite }, "\(parameter.name)")
        }
    }

    @Test("invalid settings are errors that name the key")
    func settings() throws {
        let changes: [(String, (inout StageOptions) -> Void)] = [
            ("textDropping", { $0.textDropping = 1.5 }), ("textDropping", { $0.textDropping = .nan }),
            ("scaleLearningRate", { $0.scaleLearningRate = -1 }),
            ("featureWeight", { $0.featureWeight = -0.01 }),
            ("timesteps.alpha", { $0.timesteps.alpha = 0 }), ("timesteps.beta", { $0.timesteps.beta = .nan }),
            ("training.steps", { $0.training.steps = 0 }),
            ("training.batchSize", { $0.training.batchSize = 0 }),
            ("training.microBatchSize", { $0.training.microBatchSize = 0 }),
            ("training.learningRate", { $0.training.learningRate = .infinity }),
            ("training.beta1", { $0.training.beta1 = 1 }), ("training.beta2", { $0.training.beta2 = -0.1 }),
            ("training.averageDecay", { $0.training.averageDecay = 1 }),
            ("training.weightDecay", { $0.training.weightDecay = -1 }),
            ("training.maximumGradientNorm", { $0.training.maximumGradientNorm = 0 }),
            ("training.saveEvery", { $0.training.saveEvery = 0 }),
            ("training.schedule.warmupSteps", { $0.training.schedule.warmupSteps = -1 }),
            ("training.schedule.finalFactor", { $0.training.schedule.finalFactor = 2 }),
        ]
        for (key, change) in changes {
            var options = TinyDistillation.options()
            change(&options)
            let error = #expect(throws: TrainingConfigError.self) { try options.validate() }
            guard case .range(let named, _, _) = error else {
                Issue.record("\(key): \(String(describing: error))")
                continue
            }
            #expect(named == key)
        }
        for stage in DistillationStage.allCases {
            try DistillationOptions.paper[stage].validate()
            try DistillationOptions.shapes[stage].validate()
        }
    }

    @Test("the paper's settings are the published ones")
    func paper() {
        let (one, two) = (DistillationOptions.paper.stage1, DistillationOptions.paper.stage2)
        #expect((one.training.steps, one.training.batchSize) == (20_000, 256))
        #expect((two.training.steps, two.training.batchSize) == (50_000, 1024))
        for options in [one, two] {
            #expect(options.training.learningRate == 1e-5)
            #expect(options.textDropping == 0.1)
            #expect(options.featureWeight == 0.01)
            #expect(options.timesteps == .paper)
        }
    }
}
