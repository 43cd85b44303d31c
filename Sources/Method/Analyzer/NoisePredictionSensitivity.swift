// SPDX-License-Identifier: Apache-2.0
// The error of the noise prediction, in the space of the predicted sample: E_t[(1 - ā_t)/ā_t ‖ε - ε_q‖²], the quantity
// behind the paper's timestep distribution (BitsFusion, arXiv:2406.04333, section 4.2).

import Evaluation
import Schedulers
import Tensors

/// Compares predictions with the full-precision ones.
package struct NoisePredictionSensitivity {
    let passes: StagedPredictions
    let schedule: NoiseSchedule

    package init(passes: StagedPredictions, schedule: NoiseSchedule) {
        (self.passes, self.schedule) = (passes, schedule)
    }

    /// The mean error of the model with its present weights.
    ///
    /// - Parameters:
    ///   - stage: the first stage that differs from full precision; nil where the conditioning differs.
    ///   - interruption: called between passes; it may throw to end the work.
    /// - Returns: a value >= 0; nil where a prediction contains NaN or infinity.
    package func measure(from stage: Int?, interruption: () throws -> Void) rethrows -> Double? {
        var errors: [Double] = []
        for index in passes.inputs.indices {
            try interruption()
            let prediction = withoutGradients { passes.prediction(index, from: stage) }
            guard prediction.isFinite else { return nil }
            errors += predictedSampleErrors(
                prediction, reference: passes.references[index], timesteps: passes.inputs[index].timesteps,
                schedule: schedule)
        }
        let mean = errors.reduce(0, +) / Double(errors.count)
        return mean.isFinite ? mean : nil
    }
}
