// SPDX-License-Identifier: Apache-2.0
// The sampling loop: predict, step, repeat.

import Schedulers
import Tensors

/// How far a sampling run is, reported after every step.
public struct SamplingProgress {
    /// Steps taken, 1 ... total.
    public let step: Int
    /// Predictions that the run takes.
    public let total: Int
    /// The timestep just left.
    public let timestep: Int
    /// The sample so far, `[B, C, H, W]`.
    public let sample: Tensor
}

/// Turns noise into samples.
///
/// - Parameters:
///   - noise: `[B, C, H, W]`, standard normal.
///   - sampler: which timesteps to visit and how to step; the caller's copy is not moved.
///   - predictor: the model with its conditions.
///   - progress: called after every step; what it throws ends the run.
/// - Returns: the finished samples, `[B, C, H, W]`, in the model's own units (pixels or latents). No gradients are
///   kept.
/// - Throws: before the first prediction, what `predictor.validate(timesteps:)` throws, and what `progress` throws.
public func sampleLoop(
    from noise: Tensor, sampler: any DiffusionSampler, predictor: some NoisePredictor,
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
