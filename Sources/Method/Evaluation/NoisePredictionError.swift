// SPDX-License-Identifier: Apache-2.0
// How far a quantized model's predictions are from the full-precision model's, in the model's own output and in the
// sample that it implies: E_t[(1 - ā_t)/ā_t ‖ε - ε_q‖²] of BitsFusion (arXiv:2406.04333, section 4.2), whose
// growth with t is why training draws noisy timesteps more often. N predictions.

import Schedulers
import Tensors

/// The mean squared error of every prediction, 1/d ‖prediction - reference‖² over its d values.
///
/// - Parameters:
///   - prediction: `[N, ...]`, the quantized model's output.
///   - reference: the same shape, the full-precision model's output for the same input.
/// - Returns: N values >= 0.
public func predictionErrors(_ prediction: Tensor, reference: Tensor) -> [Double] {
    meanSquaredErrors(prediction, reference: reference)
}

/// The mean squared error of the noiseless sample that every prediction implies, w_t times the prediction's own:
///
///     w_t = (1 - ā_t) / ā_t    for noise prediction, x_0 = (x_t - √(1 - ā) ε) / √ā
///     w_t = 1 - ā_t            for velocity prediction, x_0 = √ā x_t - √(1 - ā) v
///
/// - Parameters:
///   - prediction: `[N, ...]`, the quantized model's output.
///   - reference: the same shape, the full-precision model's output for the same input.
///   - timesteps: N values in `0 ..< schedule.trainTimesteps`.
///   - schedule: gives ā and tells what the models predict.
/// - Returns: N values >= 0; their mean over timesteps drawn uniformly estimates E_t.
/// - Precondition: equal shapes, N timesteps in range.
public func predictedSampleErrors(
    _ prediction: Tensor, reference: Tensor, timesteps: [Int], schedule: NoiseSchedule
) -> [Double] {
    let errors = predictionErrors(prediction, reference: reference)
    precondition(
        errors.count == timesteps.count,
        "predictedSampleErrors: \(timesteps.count) timesteps for predictions \(prediction.shape)")
    return zip(errors, timesteps).map { error, timestep in
        precondition(
            schedule.alphasCumprod.indices.contains(timestep),
            "predictedSampleErrors: timestep \(timestep) is not in 0 ..< \(schedule.trainTimesteps)")
        let kept = Double(schedule.alphasCumprod[timestep])
        switch schedule.predictionType {
        case .epsilon: return error * (1 - kept) / kept
        case .vPrediction: return error * (1 - kept)
        }
    }
}
