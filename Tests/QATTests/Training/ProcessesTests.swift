// SPDX-License-Identifier: Apache-2.0
// Data-parallel training: any number of processes gives the same bits, also after a resume with another number.

import Checkpoints
import Communication
import Foundation
import Networks
import Tensors
import TestKit
import Testing

@testable import Optimizers
@testable import QAT

@Suite struct ProcessesTests {
    private static func options(
        _ stage: DistillationStage, _ change: (inout TrainingOptions) -> Void = { _ in }
    ) -> StageOptions {
        var options = TinyDistillation.options(averageDecay: 0.9)
        options.training.batchSize = 7
        options.training.microBatchSize = 2
        change(&options.training)
        return options
    }

    /// Weights, moments, averages, losses and exponents of a run.
    private struct Outcome: Equatable, Sendable {
        var tensors: [String: [UInt32]] = [:]
        var history: [LossRecord]
        var metrics: StepMetrics?
        var exponents: [String: Int]

        init(_ trainer: DistillationTrainer) throws {
            let loop = trainer.loop
            history = loop.history
            metrics = loop.latest.map {
                // The time for data differs.
                StepMetrics(
                    step: $0.step, loss: $0.loss, parts: $0.parts, gradientNorm: $0.gradientNorm,
                    learningRate: $0.learningRate)
            }
            exponents = loop.gradients.accumulator?.exponentsByName ?? [:]
            tensors = trainer.model.denoiser.store.bits
            // Values, moments and averages; the first process has the moments of all.
            var state: [String: [UInt32]] = [:]
            try loop.inFirstProcess {
                for entry in try loop.state(run: "", keepsFinalState: true).tensors {
                    state[entry.name] = try entry.value.values.map(\.bitPattern)
                }
            }
            tensors.merge(state) { $1 }
        }
    }

    @Test(
        "weights, moments, averages and losses are the same for 1 to 4 processes", .slow,
        arguments: DistillationStage.allCases, [false, true])
    func anyNumber(stage: DistillationStage, isLean: Bool) throws {
        let outcomes = try (1...4).map { size in
            try ThreadCommunicator.run(size) { communicator in
                let options = Self.options(stage) {
                    $0.checkpointing = isLean ? .blocks : .none
                    $0.momentDtype = isLean ? .bfloat16 : .float32
                    $0.precision = isLean ? .bfloat16 : nil
                }
                let trainer = try TinyDistillation.trainer(
                    stage, options, communicator: communicator, shardsOptimizer: isLean)
                try TinyDistillation.run(trainer)
                if isLean, size > 1 {
                    let held = trainer.loop.optimizer.moments.values.reduce(0) { $0 + $1.first.count }
                    let all = trainer.loop.optimizer.groups.flatMap(\.parameters).reduce(0) { $0 + $1.value.count }
                    #expect(held < all)
                }
                return try Outcome(trainer)
            }
        }
        let single = outcomes[0][0]
        #expect(single.history.map(\.step) == [6])
        #expect(!single.exponents.isEmpty)
        for (size, ofProcesses) in zip(1..., outcomes) {
            #expect(ofProcesses.count == size)
            #expect(ofProcesses[0] == single, "first of \(size) processes")
            for (rank, outcome) in ofProcesses.enumerated() {
                expectWeights(outcome, single, "process \(rank) of \(size)")
            }
        }
    }

    /// Processes that are not the first have no state, but the same weights and losses.
    private func expectWeights(_ outcome: Outcome, _ expected: Outcome, _ comment: Comment) {
        #expect(outcome.history == expected.history && outcome.metrics == expected.metrics, comment)
        #expect(outcome.exponents == expected.exponents, comment)
        #expect(!outcome.tensors.isEmpty, comment)
        for (name, bits) in outcome.tensors { #expect(bits == expected.tensors[name], "\(name), \(comment)") }
    }

    @Test("a run is resumed with another number of processes to the same bits", .slow, arguments: [false, true])
    func resumes(shards: Bool) throws {
        let options = Self.options(.one)
        let uninterrupted = try TinyDistillation.trainer(.one, options)
        try TinyDistillation.run(uninterrupted)
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        _ = try ThreadCommunicator.run(3) { communicator in
            let trainer = try TinyDistillation.trainer(
                .one, options, communicator: communicator, shardsOptimizer: shards)
            // Only the last process is told to stop.
            try trainer.run(
                save: { try trainer.write(to: path, manifest: TinyModel.manifest) },
                shouldStop: { communicator.rank == 2 && trainer.loop.step == 2 })
            #expect(trainer.loop.step == 2)
        }
        let resumed = try ThreadCommunicator.run(2) { communicator in
            let trainer = try TinyDistillation.trainer(
                .one, options, communicator: communicator, shardsOptimizer: shards)
            #expect(try trainer.resume(from: path))
            #expect(trainer.loop.step == 2)
            try TinyDistillation.run(trainer)
            return try Outcome(trainer)
        }
        #expect(try resumed[0] == Outcome(uninterrupted))
        expectWeights(resumed[1], resumed[0], "second process")
    }

    @Test("only the first process saves")
    func saves() throws {
        let counts = try ThreadCommunicator.run(2) { communicator in
            let trainer = try TinyDistillation.trainer(
                .two, Self.options(.two) { $0.saveEvery = 3 }, communicator: communicator)
            var count = 0
            try trainer.run(save: { count += 1 })
            return count
        }
        #expect(counts == [2, 0])
    }

    @Test("more processes than micro-batches are refused")
    func tooMany() throws {
        let error = #expect(throws: TrainingError.self) {
            try ThreadCommunicator.run(2) { communicator in
                let trainer = try TinyDistillation.trainer(
                    .two, Self.options(.two) { $0.microBatchSize = nil }, communicator: communicator)
                try trainer.run()
            }
        }
        #expect(error == .tooManyProcesses(2, microBatches: 1, batchSize: 7))
        #expect(error?.description.contains("microBatchSize to 3 or less") == true)
    }

    @Test("an error of one process ends the run in all of them")
    func failure() throws {
        struct Broken: Error {}
        #expect(throws: Broken.self) {
            try ThreadCommunicator.run(2) { communicator in
                let trainer = try TinyDistillation.trainer(.two, Self.options(.two), communicator: communicator)
                try trainer.loop.run(objective: { part, random in
                    if part.step == 1, communicator.rank == 1 { throw Broken() }
                    return try trainer.loss(of: part, random: &random)
                })
            }
        }
    }

    @Test("a gradient that is not finite ends the run in all processes, with the weights of the previous step")
    func diverges() throws {
        let steps = try ThreadCommunicator.run(2) { communicator in
            let trainer = try TinyDistillation.trainer(.two, Self.options(.two), communicator: communicator)
            let error = #expect(throws: TrainingError.self) {
                try trainer.loop.run(objective: { part, random in
                    let loss = try trainer.loss(of: part, random: &random)
                    guard part.step == 2, part.samples.contains(17) else { return loss }
                    return StepLoss(loss.total * Float.infinity, parts: loss.parts)
                })
            }
            guard case .diverged(step: 2, _) = error else { throw PeerFailure([]) }
            return trainer.loop.step
        }
        #expect(steps == [2, 2])
    }
}
