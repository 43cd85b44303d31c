// SPDX-License-Identifier: Apache-2.0
// Multistep sampling of latent consistency models (Luo et al. 2023, arXiv:2310.04378, algorithm 3).
// Matches diffusers `LCMScheduler` (schedulers/scheduling_lcm.py).

import Tensors

/// LCM: each step predicts the noiseless sample, then adds noise again. Makes one prediction per step.
public struct LCMSampler: DiffusionSampler {
    public let steps: Int
    public let timesteps: [Float]
    public var position = 0
    private let config: SamplerConfig
    private let trainingTimesteps: [Int]

    /// - Parameters:
    ///   - steps: number of inference steps, 1 ... `originalInferenceSteps`.
    ///   - config: noise schedule and options.
    /// - Throws: `SamplerError`.
    public init(steps: Int, config: SamplerConfig = SamplerConfig()) throws(SamplerError) {
        let (count, original) = (config.schedule.trainTimesteps, config.originalInferenceSteps)
        guard (1...count).contains(original) else {
            throw .unsupported(
                option: "original_inference_steps", value: "\(original)", supported: "1 to \(count)")
        }
        guard (1...original).contains(steps) else { throw .steps(requested: steps, maximum: original) }
        // The timesteps of the distillation, descending, at evenly spaced indices.
        let distilled = (1...original).reversed().map { $0 * (count / original) - 1 }
        let spacing = Double(original) / Double(steps)
        trainingTimesteps = (0..<steps).map { distilled[Int(Double($0) * spacing)] }
        try config.checkSignal(trainingTimesteps, for: .lcm)
        timesteps = trainingTimesteps.map { Float($0) }
        self.steps = steps
        self.config = config
    }

    public mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor {
        checkPosition()
        let timestep = trainingTimesteps[position]
        position += 1
        let now = Double(config.schedule.alphasCumprod[timestep])
        let original = config.clipped(
            config.schedule.predictionType.originalSample(
                prediction, sample, signal: Float(now.squareRoot()), noise: Float((1 - now).squareRoot())))
        // The boundary condition: at timestep 0 the result is the sample. 0.5 is the standard deviation of the data.
        let scaled = Double(timestep) * config.timestepScaling
        let sum = scaled * scaled + 0.25
        let denoised = Float(scaled / sum.squareRoot()) * original + Float(0.25 / sum) * sample
        guard position < trainingTimesteps.count else { return denoised }
        let next = config.noiseLevel(trainingTimesteps[position])
        return next.signal * denoised + next.noise * noise(sample.shape)
    }

    public func noiseLevel(at index: Int) -> (signal: Float, noise: Float) {
        config.noiseLevel(trainingTimesteps[index])
    }
}
