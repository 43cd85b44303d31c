// SPDX-License-Identifier: Apache-2.0
// The training loop on a problem of two parameters: steps, micro-batches, loss curve, saves, stops and divergence.

import Optimizers
import Tensors
import TestKit
import Testing

@testable import QAT

/// Least squares towards a target per sample: loss (w − target)².
private struct Quadratic {
    let parameter = Parameter("w", Tensor([0, 0], shape: [2]))
    let loop: TrainingLoop

    init(_ options: TrainingOptions) {
        loop = TrainingLoop(
            options, groups: [ParameterGroup([parameter], learningRate: options.learningRate)])
    }

    /// The mean over samples i of ‖w − (i mod 5, −i mod 3)‖².
    func objective(_ part: MicroBatch, _ random: inout Philox) -> StepLoss {
        let targets = part.samples.flatMap { [Float($0 % 5), Float(-($0 % 3))] }
        let difference = parameter.tensor().reshaped([1, 2]) - Tensor(targets, shape: [part.count, 2])
        let loss = difference.square().sum() / Float(part.count)
        return StepLoss(loss, parts: ["loss": loss.item, "samples": Float(part.count)])
    }

    @discardableResult
    func run(save: () throws -> Void = {}, shouldStop: () -> Bool = { false }) throws -> Bool {
        try loop.run(objective: objective, save: save, shouldStop: shouldStop)
    }
}

@Suite struct TrainingLoopTests {
    private func options(_ steps: Int, _ change: (inout TrainingOptions) -> Void = { _ in })
        -> TrainingOptions
    {
        var options = TrainingOptions(
            steps: steps, batchSize: 15, learningRate: 0.1,
            schedule: LearningRateSchedule(warmupSteps: 0, decay: .cosine, finalFactor: 0),
            maximumGradientNorm: nil, seed: 5, saveEvery: 4)
        change(&options)
        return options
    }

    @Test("a run converges to the minimum")
    func converges() throws {
        let problem = Quadratic(options(300))
        #expect(try problem.run())
        // 15 samples cover both residues evenly: the mean target is (2, −1).
        expectClose(
            problem.parameter.value.values, [2, -1] as [Float], Tolerance(absolute: 1e-3, relative: 0))
        #expect(problem.loop.step == 300)
        #expect(problem.loop.history.map(\.step) == [50, 100, 150, 200, 250, 300])
        // The minimum is the variance of the targets, 2 + 2/3.
        #expect(abs((problem.loop.history.last?.loss ?? 0) - 8.0 / 3) < 1e-3)
    }

    @Test(
        "micro-batches give the same steps, also with a shorter last one",
        arguments: [1, 4, 15, 99])
    func microBatches(size: Int) throws {
        let unsplit = Quadratic(options(20)), parts = Quadratic(options(20) { $0.microBatchSize = size })
        try unsplit.run()
        try parts.run()
        expectClose(
            parts.parameter.value.values, unsplit.parameter.value.values,
            Tolerance(absolute: 1e-5, relative: 1e-5))
        let (found, expected) = (parts.loop.history[0], unsplit.loop.history[0])
        #expect(abs(found.loss - expected.loss) < 1e-4)
        #expect(abs(found.gradientNorm - expected.gradientNorm) < 1e-4)
        #expect(abs((found.parts["loss"] ?? 0) - found.loss) < 1e-4)
    }

    @Test("steps take consecutive samples, and each step has its own random stream")
    func samples() throws {
        let problem = Quadratic(options(3) { $0.microBatchSize = 8 })
        var seen: [Range<Int>] = [], positions: [UInt64] = [], streams: [UInt64] = []
        try problem.loop.run(objective: { part, random in
            seen.append(part.samples)
            positions.append(random.position)
            streams.append(random.stream)
            #expect(random.seed == 5)
            _ = random.nextUniform()
            return problem.objective(part, &random)
        })
        // The first micro-batch is computed twice: its gradients choose the scale of the sums.
        #expect(seen == [0..<8, 0..<8, 8..<15, 15..<23, 23..<30, 30..<38, 38..<45])
        #expect(positions == [0, 0, 1 << 40, 0, 1 << 40, 0, 1 << 40])
        #expect(streams == [0, 0, 0, 1, 1, 2, 2])
    }

    @Test("a point of the loss curve averages 50 steps, the last one the remaining steps")
    func history() throws {
        let problem = Quadratic(options(70))
        var losses: [Float] = []
        try problem.loop.run(objective: { part, random in
            let loss = problem.objective(part, &random)
            losses.append(loss.total.item)
            return loss
        })
        let history = problem.loop.history
        #expect(history.map(\.step) == [50, 70])
        let means = [losses[..<50].reduce(0, +) / 50, losses[50...].reduce(0, +) / 20]
        expectClose(history.map(\.loss), means, .roundings(50))
        #expect(history.map { $0.parts["samples"] } == [15, 15])
    }

    @Test("a run is saved every saveEvery steps, at the end and when stopped")
    func saves() throws {
        var saved: [Int] = []
        let problem = Quadratic(options(10))
        #expect(try problem.run(save: { saved.append(problem.loop.step) }))
        #expect(saved == [4, 8, 10])
        saved = []
        let stopped = Quadratic(options(10))
        #expect(
            try !stopped.run(
                save: { saved.append(stopped.loop.step) }, shouldStop: { stopped.loop.step == 6 }))
        #expect(saved == [4, 6])
        #expect(stopped.loop.step == 6)
        #expect(try stopped.run(save: { saved.append(stopped.loop.step) }))
        #expect(saved == [4, 6, 8, 10])
        #expect(stopped.parameter.value.values == problem.parameter.value.values)
    }

    @Test("progress is called once per step, with a finite loss")
    func progress() throws {
        let problem = Quadratic(options(60))
        var reported: [Int] = []
        try problem.loop.run(
            objective: problem.objective,
            progress: { done, total, record in
                reported.append(done)
                #expect(total == 60)
                #expect(record.loss.isFinite && record.step == done)
            })
        #expect(reported == Array(1...60))
    }

    @Test("a loss that is not finite ends the run with the weights of the previous step")
    func diverges() throws {
        let problem = Quadratic(options(10) { $0.averageDecay = 0.9 })
        var before: [Float] = []
        let error = #expect(throws: TrainingError.self) {
            try problem.loop.run(objective: { part, random in
                before = problem.parameter.value.values
                let loss = problem.objective(part, &random)
                return part.step == 3 ? StepLoss(loss.total * Float.nan) : loss
            })
        }
        let factor = problem.loop.options.schedule.factor(step: 3, of: 10)
        #expect(error == .diverged(step: 3, learningRate: 0.1 * factor))
        #expect(problem.loop.step == 3)
        #expect(problem.parameter.value.values == before)
        #expect(problem.parameter.gradient == nil)
        #expect(problem.loop.optimizer.updates == 3)
        #expect(error?.description.contains("step 3") == true)
    }

    @Test("a gradient that is not finite ends the run, also if the loss is finite")
    func divergesByGradient() throws {
        let problem = Quadratic(options(10))
        #expect(throws: TrainingError.self) {
            try problem.loop.run(objective: { part, random in
                // The derivative of √ at zero is infinite.
                StepLoss((problem.parameter.tensor() * 0).sum().sqrt())
            })
        }
        #expect(problem.parameter.value.values == [0, 0])
    }
}
