// SPDX-License-Identifier: Apache-2.0
// The losses of both stages, term by term (BitsFusion, arXiv:2406.04333, sections 4.2 to 4.4).

import DataSets
import Networks
import Pipelines
import Recipes
import Schedulers
import ShapesWorld
import Tensors
import TestKit
import Testing

@testable import QAT

/// The random inputs of one step of an objective.
private struct StepInputs {
    let batch: DistillationBatch
    let timesteps: [Int]
    let noise, noisy: Tensor

    init(_ objective: DistillationObjective, _ part: MicroBatch, seed: UInt64) throws {
        var random = Philox(seed: seed)
        batch = try objective.data.batch(
            part.samples, textDropping: objective.options.textDropping, random: &random)
        timesteps = objective.options.timesteps.draw(
            part.count, trainTimesteps: objective.schedule.trainTimesteps, using: &random)
        noise = random.normal(batch.samples.shape)
        noisy = objective.schedule.addNoise(to: batch.samples, noise: noise, timesteps: timesteps)
    }

    func prediction(_ model: any Denoiser, _ features: BlockFeatures? = nil) -> Tensor {
        withoutGradients {
            model(
                noisy, timesteps: Tensor(timesteps.map(Float.init), shape: [timesteps.count]),
                encoderHiddenStates: batch.encoderHiddenStates, features: features)
        }
    }
}

/// ‖a − b‖² / N in Double.
private func meanSquare(_ a: Tensor, _ b: Tensor) -> Double {
    zip(a.values, b.values).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
        / Double(a.count)
}

@Suite struct DistillationObjectiveTests {
    private let part = MicroBatch(step: 2, samples: 8..<12)

    private func objective(
        _ stage: DistillationStage, _ options: StageOptions = TinyDistillation.options(),
        student: (any Denoiser)? = nil, schedule: NoiseSchedule = NoiseSchedule()
    ) throws -> DistillationObjective {
        DistillationObjective(
            teacher: stage == .one ? try TinyDistillation.teacher().denoiser : nil,
            student: try student ?? TinyDistillation.student().denoiser, schedule: schedule,
            data: TinyDistillation.data(), stage: stage, options: options)
    }

    private func loss(_ objective: DistillationObjective) throws -> StepLoss {
        var random = Philox(seed: 6)
        return try objective(part, random: &random)
    }

    @Test("stage I is the noise loss plus λ times the feature loss", arguments: [0.01, 0.1, 1] as [Float])
    func parts(featureWeight: Float) throws {
        let loss = try loss(objective(.one, TinyDistillation.options(featureWeight: featureWeight)))
        let (noise, feature) = (try #require(loss.parts["noise"]), try #require(loss.parts["feature"]))
        #expect(loss.parts.count == 2)
        expectClose([loss.total.item], [noise + featureWeight * feature], .roundings(4))
        #expect(noise > 0 && feature > 0)
    }

    @Test("both terms are mean squared differences of teacher and student: predictions, and all down and up blocks")
    func definition() throws {
        let objective = try objective(.one)
        let inputs = try StepInputs(objective, part, seed: 6)
        let (ofTeacher, ofStudent) = (BlockFeatures(), BlockFeatures())
        let target = inputs.prediction(try #require(objective.teacher), ofTeacher)
        let prediction = inputs.prediction(objective.student, ofStudent)
        let loss = try loss(objective)
        let noise = meanSquare(prediction, target)
        #expect(abs(Double(loss.parts["noise"] ?? 0) - noise) < 1e-5 * noise)
        #expect(
            ofStudent.outputs(of: .down).count == 2 && ofStudent.outputs(of: .up).count == 2
                && ofStudent.outputs(of: .mid).count == 1)
        let pairs = zip(
            ofStudent.outputs(of: .down) + ofStudent.outputs(of: .up),
            ofTeacher.outputs(of: .down) + ofTeacher.outputs(of: .up))
        let feature = pairs.reduce(0) { $0 + meanSquare($1.0, $1.1) }
        #expect(abs(Double(loss.parts["feature"] ?? 0) - feature) < 1e-5 * feature)
    }

    @Test("the loss of a student that equals its teacher is zero")
    func equalModels() throws {
        let loss = try loss(objective(.one, student: TinyDistillation.teacher().denoiser))
        #expect(loss.parts == ["noise": 0, "feature": 0])
        #expect(loss.total.item == 0)
    }

    @Test("the relative feature loss does not depend on the scale of a sample's features")
    func relativeFeatures() {
        var random = Philox(seed: 8)
        let teacher = random.normal([2, 4, 3, 3]), student = random.normal([2, 4, 3, 3])
        let factors = Tensor([0.125, 64], shape: [2, 1, 1, 1])
        let relative = FeatureLoss.relative(student: student, teacher: teacher)
        let scaled = FeatureLoss.relative(student: student * factors, teacher: teacher * factors)
        #expect(scaled.item == relative.item)
        // Independent normal values: |s - t|² is twice |t|².
        #expect(abs(relative.item - 2) < 1)
        #expect(
            FeatureLoss.absolute(student: student, teacher: teacher).item
                == meanSquaredError(student, teacher).item)
        let zero = Tensor.zeros([2, 4, 3, 3])
        #expect(FeatureLoss.relative(student: zero, teacher: zero).item == 0)
    }

    @Test("with λ = 0 the loss is the noise loss")
    func withoutFeatures() throws {
        let with = try loss(objective(.one))
        let without = try loss(objective(.one, TinyDistillation.options(featureWeight: 0)))
        #expect(without.parts == ["noise": with.parts["noise"] ?? 0])
        #expect(without.total.item == with.parts["noise"])
    }

    @Test(
        "stage II is the mean squared difference of prediction and target: noise, velocity or sample",
        arguments: PredictionType.allCases)
    func stageTwo(type: PredictionType) throws {
        let objective = try objective(.two, schedule: NoiseSchedule(predictionType: type))
        let inputs = try StepInputs(objective, part, seed: 6)
        let loss = try loss(objective)
        let target: Tensor
        switch type {
        case .epsilon: target = inputs.noise
        case .vPrediction:
            let rows = inputs.timesteps.enumerated().map { index, timestep in
                let signal = objective.schedule.alphasCumprod[timestep]
                let noise = inputs.noise.sliced(axis: 0, index..<index + 1)
                let sample = inputs.batch.samples.sliced(axis: 0, index..<index + 1)
                return noise * signal.squareRoot() - sample * (1 - signal).squareRoot()
            }
            target = .concatenated(rows, axis: 0)
        case .sample: target = inputs.batch.samples
        }
        let expected = meanSquare(inputs.prediction(objective.student), target)
        #expect(abs(Double(loss.total.item) - expected) < 1e-5 * expected)
        #expect(loss.parts == ["noise": loss.total.item])
    }

    @Test("all weights and scales of the student have a gradient except time layers, and the teacher has none")
    func gradients() throws {
        let trainer = try TinyDistillation.trainer(.one)
        var random = Philox(seed: 6)
        let teacher = try TinyDistillation.teacher()
        teacher.freeze()
        let objective = DistillationObjective(
            teacher: teacher.denoiser, student: trainer.model.denoiser, schedule: NoiseSchedule(),
            data: TinyDistillation.data(), stage: .one, options: TinyDistillation.options(featureWeight: 1))
        try objective(part, random: &random).total.backward()
        for store in teacher.components.map(\.store) {
            #expect(store.parameters.allSatisfy { $0.gradient == nil && !$0.isTrainable })
        }
        for parameter in trainer.model.denoiser.store.parameters {
            if trainer.model.denoiser.isTimeLayer(parameter: parameter.name), !parameter.name.hasSuffix(".scale") {
                #expect(parameter.gradient == nil, "\(parameter.name)")
            } else {
                let gradient = try #require(parameter.gradient, "\(parameter.name)")
                #expect(gradient.values.contains { $0 != 0 }, "\(parameter.name)")
            }
        }
        #expect(trainer.model.textEncoder?.store.parameters.allSatisfy { !$0.isTrainable } == true)
    }

    @Test(
        "the given share of the captions is dropped",
        arguments: [0, 0.1, 1] as [Float])
    func textDropping(share: Float) throws {
        let data = TinyDistillation.data()
        var random = Philox(seed: 4)
        let batch = try data.batch(0..<3000, textDropping: share, random: &random)
        let empty = data.emptyHiddenStates.values
        let rowLength = empty.count, states = batch.encoderHiddenStates.values
        let dropped = (0..<3000).filter { Array(states[$0 * rowLength..<($0 + 1) * rowLength]) == empty }.count
        let deviation = (Double(share) * (1 - Double(share)) / 3000).squareRoot()
        #expect(abs(Double(dropped) / 3000 - Double(share)) <= 4 * deviation)
        #expect(TinyDistillation.options().textDropping == 0.1)
    }

    @Test("text dropping in the shapes world changes captions only")
    func shapesTextDropping() throws {
        let pipeline = try TinyDistillation.teacher()
        let data = try ShapesDistillationData(ShapesDataset(seed: 8), pipeline: pipeline)
        var random = Philox(seed: 4)
        let count = 600
        let kept = data.batch(0..<count, textDropping: 0, random: &random)
        let batch = data.batch(0..<count, textDropping: 0.1, random: &random)
        #expect(batch.samples.values == kept.samples.values)
        let changed = zip(
            batch.encoderHiddenStates.reshaped([count, -1]).rows,
            kept.encoderHiddenStates.reshaped([count, -1]).rows
        ).filter { $0 != $1 }
        #expect(abs(Double(changed.count) / Double(count) - 0.1) < 4 * (0.09 / Double(count)).squareRoot())
        let empty = try PromptEmbeddings(prompts: ["a red circle"], pipeline: pipeline).unconditional.values
        #expect(changed.allSatisfy { $0.0 == empty })
        #expect(!batch.encoderHiddenStates.requiresGradient)
    }

    @Test("a model without a text encoder is refused")
    func refusals() throws {
        let mute = try TinyModel.pipeline(hasText: false)
        #expect(throws: PipelineError.noTextEncoder) {
            try ShapesDistillationData(ShapesDataset(seed: 1), pipeline: mute)
        }
    }

    @Test("stage I without a teacher traps")
    func withoutTeacher() async {
        await #expect(processExitsWith: .failure) {
            _ = DistillationObjective(
                teacher: nil, student: try TinyModel.unet(), schedule: NoiseSchedule(),
                data: TinyDistillation.data(), stage: .one, options: TinyDistillation.options())
        }
    }
}

extension Tensor {
    /// The rows of `[N, D]`.
    fileprivate var rows: [[Float]] {
        let values = values
        return (0..<shape[0]).map { Array(values[$0 * shape[1]..<($0 + 1) * shape[1]]) }
    }
}
