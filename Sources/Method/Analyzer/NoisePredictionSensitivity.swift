// SPDX-License-Identifier: Apache-2.0
// The sensitivity of a candidate in the prediction: the paper's reason for its timesteps, an error in predicted-sample space,
// E_t[(1 - ā_t)/ā_t ‖ε - ε_q‖²] (BitsFusion, arXiv:2406.04333, section 4.2), with t weighted by the training distribution.

import Evaluation
import Schedulers
import Tensors

/// Measures predictions against the full-precision ones.
package struct NoisePredictionSensitivity {
    let passes: StagedPredictions
    let schedule: NoiseSchedule

    package init(passes: StagedPredictions, schedule: NoiseSchedule) {
        (self.passes, self.schedule) = (passes, schedule)
    }

    /// The mean error of what the model predicts now.
    ///
    /// - Parameters:
    ///   - stage: the first that differs from full precision; nil where the conditioning does.
    ///   - interruption: called between passes; what it throws ends the work.
    /// - Returns: >= 0; nil where a prediction holds NaN or infinity.
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
