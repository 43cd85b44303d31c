// SPDX-License-Identifier: Apache-2.0
// The sampling loop: predict and step at each timestep of the sampler.

import Schedulers
import Tensors

/// The progress of a sampling run, reported after every step.
public struct SamplingProgress {
    /// Predictions made since the start of the run, 1 ... total.
    public let step: Int
    /// Predictions of the run.
    public let total: Int
    /// The timestep of the last prediction.
    public let timestep: Float
    /// The sample after the step, `[B, C, H, W]`.
    public let sample: Tensor
}

/// Turns noise, or images with noise, into samples.
///
/// - Parameters:
///   - start: `[B, C, H, W]` at the noise level of `sampler.timesteps[sampler.position]`: standard normal noise times
///     `sampler.initNoiseSigma`, or the result of `sampler.addNoise(to:noise:at:)`.
///   - sampler: the timesteps and the update rule; the caller's copy does not change.
///   - predictor: the model with its conditions.
///   - afterStep: changes the sample after each step, given the index in `sampler.timesteps` of the next prediction,
///     which is the number of timesteps after the last step; inpainting puts the unmasked part of the image back.
///   - observe: called before each prediction with the denoiser's input `[B, C, H, W]`, without condition channels, and
///     the timestep.
///   - noise: the noise that the sampler adds in its steps, if it adds any.
///   - progress: called after every step; what it throws ends the run.
/// - Returns: the finished samples, `[B, C, H, W]`, in the model's units (pixels or latents), without gradients.
/// - Throws: before the first prediction, what `predictor.validate(timesteps:)` throws, and what `progress` throws.
public func sampleLoop(
    from start: Tensor, sampler: any DiffusionSampler, predictor: GuidedPredictor,
    afterStep: ((Tensor, Int) -> Tensor)? = nil, observe: ((Tensor, Float) -> Void)? = nil, noise: NoiseSource,
    progress: ((SamplingProgress) throws -> Void)? = nil
) throws -> Tensor {
    let timesteps = Array(sampler.timesteps.dropFirst(sampler.position))
    try predictor.validate(timesteps: timesteps)
    var sampler = sampler
    var sample = start
    for (index, timestep) in timesteps.enumerated() {
        sample = withoutGradients {
            let input = sampler.scaleModelInput(sample)
            observe?(input, timestep)
            let prediction = predictor.predict(input, timestep: timestep)
            let next = sampler.step(prediction, sample: sample, noise: noise)
            return afterStep?(next, sampler.position) ?? next
        }
        try progress?(
            SamplingProgress(step: index + 1, total: timesteps.count, timestep: timestep, sample: sample))
    }
    return sample
}
