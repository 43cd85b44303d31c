// SPDX-License-Identifier: Apache-2.0
// The sampling loop: predict and step at each timestep of the sampler.

import Schedulers
import Tensors

/// The progress of a sampling run, reported after every step.
public struct SamplingProgress {
    /// Steps done, 1 ... total.
    public let step: Int
    /// Predictions of the run.
    public let total: Int
    /// The timestep of the last prediction.
    public let timestep: Int
    /// The sample after the step, `[B, C, H, W]`.
    public let sample: Tensor
}

/// Turns noise into samples.
///
/// - Parameters:
///   - noise: `[B, C, H, W]`, standard normal.
///   - sampler: the timesteps and the update rule; the caller's copy does not change.
///   - predictor: the model with its conditions.
///   - progress: called after every step; what it throws ends the run.
/// - Returns: the finished samples, `[B, C, H, W]`, in the model's units (pixels or latents), without gradients.
/// - Throws: before the first prediction, what `predictor.validate(timesteps:)` throws, and what `progress` throws.
public func sampleLoop(
    from noise: Tensor, sampler: any DiffusionSampler, predictor: GuidedPredictor,
    progress: ((SamplingProgress) throws -> Void)? = nil
) throws -> Tensor {
    try predictor.validate(timesteps: sampler.timesteps)
    var sampler = sampler
    var sample = noise
    let timesteps = sampler.timesteps
    for (index, timestep) in timesteps.enumerated() {
        sample = withoutGradients {
            sampler.step(predictor.predict(sample, timestep: timestep), sample: sample)
        }
        try progress?(
            SamplingProgress(step: index + 1, total: timesteps.count, timestep: timestep, sample: sample))
    }
    return sample
}
