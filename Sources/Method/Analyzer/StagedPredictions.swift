// SPDX-License-Identifier: Apache-2.0
// Predictions of one model for fixed inputs, computed from the stage of a changed layer on: the stages before it are
// computed once for all candidates of a stage.

import Networks
import Tensors

/// Predictions for fixed inputs with a layer replaced.
///
/// A pass continues from the state before the layer's stage, with results bit-equal to those of a whole pass. States
/// are kept for as many parts as `memoryLimit` allows; the other parts are computed from the start each time.
package final class StagedPredictions {
    let denoiser: any StagedDenoiser
    /// The parts, each computed in one pass.
    let inputs: [PredictionInputs]
    /// The full-precision predictions, `[B, C, H, W]` each.
    package let references: [Tensor]
    /// The time of each stage for all parts, in seconds, from the reference passes.
    let stageSeconds: [Double]
    /// The memory of the kept states at their largest, in bytes.
    let stateBytes: Int

    private let conditionings: [DenoiserConditioning]
    private var states: [DenoiserState]
    /// The stage that follows `states`.
    private var stage = 0

    /// Computes the full-precision predictions.
    ///
    /// - Parameters:
    ///   - denoiser: the model in full precision.
    ///   - inputs: the parts.
    ///   - memoryLimit: memory for kept states, in bytes.
    ///   - interruption: called between passes; it may throw to end the work.
    package init(
        _ denoiser: any StagedDenoiser, _ inputs: [PredictionInputs], memoryLimit: Int,
        interruption: () throws -> Void
    ) rethrows {
        let conditionings = withoutGradients { inputs.map { $0.conditioning(denoiser) } }
        var (references, seconds) = ([Tensor](), [Double](repeating: 0, count: denoiser.stageCount))
        var largest = [Int](repeating: 0, count: inputs.count)
        for (index, part) in inputs.enumerated() {
            try interruption()
            // The second pass is timed: the first one prepacks weights and fills memory pools.
            for isTimed in index == 0 ? [false, true] : [true] {
                var state = denoiser.begin(part.modelSamples)
                for stage in 0..<denoiser.stageCount {
                    largest[index] = max(largest[index], state.bytes)
                    let clock = ContinuousClock()
                    let start = clock.now
                    withoutGradients { denoiser.run(&state, stages: stage..<stage + 1, conditionings[index]) }
                    if isTimed { seconds[stage] += (clock.now - start) / .seconds(1) }
                }
                if isTimed { references.append(withoutGradients { part.prediction(state.hidden) }) }
            }
        }
        (self.denoiser, self.inputs, self.conditionings) = (denoiser, inputs, conditionings)
        (self.references, stageSeconds) = (references, seconds)
        var (kept, bytes) = (0, 0)
        while kept < inputs.count, bytes + largest[kept] <= memoryLimit {
            bytes += largest[kept]
            kept += 1
        }
        stateBytes = bytes
        states = inputs[..<kept].map { denoiser.begin($0.modelSamples) }
    }

    /// Moves the kept states forward (or back) to `stage`; the model must have its original weights.
    package func move(to stage: Int) {
        guard stage != self.stage else { return }
        if stage < self.stage {
            self.stage = 0
            for index in states.indices { states[index] = denoiser.begin(inputs[index].modelSamples) }
        }
        withoutGradients {
            for index in states.indices {
                denoiser.run(&states[index], stages: self.stage..<stage, conditionings[index])
            }
        }
        self.stage = stage
    }

    /// The prediction of part `index` with layers replaced from `stage` on.
    ///
    /// - Parameters:
    ///   - index: the index of the part.
    ///   - stage: the first stage that differs from full precision; nil where the conditioning differs.
    /// - Returns: `[B, C, H, W]`, guided where the part is guided.
    func prediction(_ index: Int, from stage: Int?) -> Tensor {
        let part = inputs[index]
        guard let stage else {
            var state = denoiser.begin(part.modelSamples)
            denoiser.run(&state, stages: 0..<denoiser.stageCount, part.conditioning(denoiser))
            return part.prediction(state.hidden)
        }
        let isKept = index < states.count && self.stage <= stage
        var state = isKept ? states[index] : denoiser.begin(part.modelSamples)
        let first = isKept ? self.stage : 0
        withoutGradients { denoiser.run(&state, stages: first..<stage, conditionings[index]) }
        denoiser.run(&state, stages: stage..<denoiser.stageCount, conditionings[index])
        return part.prediction(state.hidden)
    }

    /// The time from `stage` to the end for all parts, in seconds, from the reference passes; parts without kept state
    /// start at the first stage.
    func secondsToEnd(from stage: Int?) -> Double {
        let share = Double(states.count) / Double(inputs.count)
        let (remaining, total) = (stageSeconds[(stage ?? 0)...].reduce(0, +), stageSeconds.reduce(0, +))
        return share * remaining + (1 - share) * total
    }
}
