// SPDX-License-Identifier: Apache-2.0
// The state of a run: saved, restored, and refused for another run.

import Checkpoints
import Foundation
import Optimizers
import Tensors
import Testing

@testable import QAT

@Suite struct TrainingStateTests {
    private func loop(_ change: (inout TrainingOptions) -> Void = { _ in }) -> TrainingLoop {
        var options = TrainingOptions(
            steps: 8, batchSize: 2, learningRate: 0.05, averageDecay: 0.9, seed: 9, saveEvery: 2)
        change(&options)
        let parameters = [Parameter("a", .ones([2, 3])), Parameter("b", .zeros([4]))]
        return TrainingLoop(options, groups: [ParameterGroup(parameters, learningRate: options.learningRate)])
    }

    /// Noisy least squares.
    private func run(_ loop: TrainingLoop, until stop: Int = .max) throws {
        let parameters = loop.optimizer.groups[0].parameters
        try loop.run(
            objective: { _, random in
                let terms = parameters.map { ($0.tensor() - random.normal($0.shape)).square().sum() }
                return StepLoss(terms[0] + terms[1], parts: ["first": terms[0].item])
            }, shouldStop: { loop.step >= stop })
    }

    private func restore(_ state: TrainingState, into loop: TrainingLoop, run: String = "run") throws {
        let tensors = Dictionary(uniqueKeysWithValues: try state.tensors.map { ($0.name, try $0.value) })
        try loop.restore(json: state.json, run: run) { tensors[$0] }
    }

    /// All values that a later step depends on.
    private func everything(_ loop: TrainingLoop) -> [String: [UInt32]] {
        var result: [String: [UInt32]] = [:]
        for parameter in loop.optimizer.groups.flatMap(\.parameters) {
            let name = parameter.name
            let values = [
                parameter.value, loop.optimizer.moments[name]?.first, loop.optimizer.moments[name]?.second,
                loop.average?.averages[name],
            ]
            result[name] = values.flatMap { $0?.values.map(\.bitPattern) ?? [] }
        }
        return result
    }

    @Test(
        "a run restored after any step ends bit-equal to the uninterrupted one, with moments of both types",
        arguments: 0...7, [ElementType.float32, .bfloat16])
    func resumes(stop: Int, moments: ElementType) throws {
        let uninterrupted = loop { $0.momentDtype = moments }
        try run(uninterrupted)
        let interrupted = loop { $0.momentDtype = moments }
        if stop > 0 { try run(interrupted, until: stop) }
        #expect(interrupted.step == stop)
        let resumed = loop { $0.momentDtype = moments }
        try restore(interrupted.state(run: "run"), into: resumed)
        #expect(resumed.step == stop)
        #expect(everything(resumed) == everything(interrupted))
        try run(resumed)
        #expect(everything(resumed) == everything(uninterrupted))
        #expect(resumed.history == uninterrupted.history)
        #expect(try resumed.state(run: "run").json == uninterrupted.state(run: "run").json)
    }

    @Test("a restored run shares no memory with the original run")
    func independent() throws {
        let first = loop()
        try run(first, until: 3)
        let second = loop()
        try restore(first.state(run: "run"), into: second)
        let before = everything(second)
        try run(first)
        #expect(everything(second) == before)
    }

    @Test("tensors are named by kind and parameter, and a finished run keeps its record only")
    func names() throws {
        let loop = loop()
        try run(loop, until: 1)
        let kinds = ["values", "first_moments", "second_moments", "averages"]
        #expect(
            try Set(loop.state(run: "run").tensors.map(\.name))
                == Set(["a", "b"].flatMap { name in kinds.map { "\($0)/\(name)" } }))
        try run(loop)
        let finished = try loop.state(run: "run")
        #expect(finished.tensors.isEmpty)
        let progress = try TrainingLoop.savedProgress(json: finished.json)
        #expect(progress.isFinished && progress.step == 8)
        #expect(progress.history == loop.history)
    }

    @Test("a state with other options, another identity or missing tensors is an error that names the difference")
    func refusals() throws {
        let first = loop()
        try run(first, until: 2)
        let state = try first.state(run: "run")
        let sparser = loop {
            $0.saveEvery = 5
            $0.checkpointing = .blocks
            $0.precision = .float32
        }
        try restore(state, into: sparser)
        #expect(sparser.step == 2)
        let changes: [(inout TrainingOptions) -> Void] = [
            { $0.batchSize = 3 }, { $0.learningRate = 0.06 }, { $0.seed = 10 },
            { $0.averageDecay = nil }, { $0.schedule.warmupSteps = 3 }, { $0.microBatchSize = 1 },
            { $0.momentDtype = .bfloat16 }, { $0.precision = .bfloat16 },
        ]
        for change in changes {
            let error = #expect(throws: TrainingStateError.self) { try restore(state, into: loop(change)) }
            guard case .differentRun(let differences) = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(differences.count == 1 && differences.allSatisfy { $0.key.hasPrefix("training.") })
        }
        #expect(
            throws: TrainingStateError.differentRun([
                SettingDifference(key: "configuration", saved: "run", requested: "x")
            ])
        ) {
            try restore(state, into: loop(), run: "x")
        }
        let missing = TrainingState(
            json: state.json, tensors: state.tensors.filter { $0.name != "second_moments/b" })
        #expect(throws: TrainingStateError.missingTensor(name: "second_moments/b")) {
            try restore(missing, into: loop())
        }
        let reshaped = TrainingState(
            json: state.json,
            tensors: state.tensors.map { $0.name == "averages/a" ? .init($0.name, .ones([6])) : $0 })
        #expect(
            throws: TrainingStateError.shapeMismatch(name: "averages/a", expected: [2, 3], found: [6])
        ) { try restore(reshaped, into: loop()) }
        #expect(throws: TrainingStateError.self) {
            try restore(TrainingState(json: Data("{}".utf8), tensors: []), into: loop())
        }
    }

    @Test("only the settings that differ are named, whatever the order of their keys")
    func differences() {
        let saved = #"{"stage": 1, "bits": {"a": 2, "b": 3}, "options": {"rate": 0.01, "horizon": null}}"#
        let requested = #"{"options": {"rate": 1e-2, "horizon": 50, "new": [1]}, "bits": {"b": 4, "a": 2}, "stage": 1}"#
        #expect(SettingDifference.between(saved, saved) == [])
        #expect(
            SettingDifference.between(saved, requested) == [
                SettingDifference(key: "bits.b", saved: "3", requested: "4"),
                SettingDifference(key: "options.horizon", saved: "null", requested: "50"),
                SettingDifference(key: "options.new", saved: "none", requested: "[1]"),
            ])
        let many = (0..<300).map { SettingDifference(key: "bits.layer\($0)", saved: "2", requested: "3") }
        let text = TrainingStateError.differentRun(many).description
        #expect(text.count < 400 && text.contains("bits.layer0 2, not 3") && text.contains("296 other settings"))
    }

    @Test(
        "a finished run that keeps its state continues to the end of a longer one, bit for bit",
        arguments: [3, 50, 60])
    func continues(first: Int) throws {
        let constant: (Int) -> TrainingLoop = { steps in
            loop {
                $0.steps = steps
                $0.schedule = LearningRateSchedule(warmupSteps: 2, decay: .constant, finalFactor: 1)
            }
        }
        let straight = constant(70)
        try run(straight)
        let short = constant(first)
        try run(short)
        #expect(short.history.last?.step == first)
        let state = try short.state(run: "run", keepsFinalState: true)
        let longer = constant(70)
        try restore(state, into: longer)
        #expect(longer.step == first)
        try run(longer)
        #expect(everything(longer) == everything(straight))
        #expect(longer.history == straight.history)
        #expect(
            try longer.state(run: "run", keepsFinalState: true).json
                == straight.state(run: "run", keepsFinalState: true).json)
    }

    @Test("a run whose learning rate depends on its length is not continued with more steps, nor one with fewer")
    func otherLengths() throws {
        let cosine: (Int, Int?) -> TrainingLoop = { steps, horizon in
            loop {
                $0.steps = steps
                $0.schedule = LearningRateSchedule(warmupSteps: 1, decay: .cosine, horizon: horizon)
            }
        }
        let short = cosine(4, nil)
        try run(short)
        let state = try short.state(run: "run", keepsFinalState: true)
        #expect(throws: TrainingStateError.scheduleLength(done: 4, saved: 4, requested: 6)) {
            try restore(state, into: cosine(6, nil))
        }
        #expect(throws: TrainingStateError.stepsDone(done: 4, requested: 3)) {
            try restore(state, into: cosine(3, nil))
        }
        // With a horizon, and in the steps of the warm-up, the learning rate is the same for all lengths.
        let planned = cosine(4, 20)
        try run(planned)
        let straight = cosine(6, 20)
        try run(straight)
        let longer = cosine(6, 20)
        try restore(planned.state(run: "run", keepsFinalState: true), into: longer)
        try run(longer)
        #expect(everything(longer) == everything(straight))
        let begun = cosine(8, nil)
        try run(begun, until: 1)
        try restore(begun.state(run: "run"), into: cosine(9, nil))
    }
}
