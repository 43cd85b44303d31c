// SPDX-License-Identifier: Apache-2.0
// What predictions are measured on: noisy samples, built from images of the full-precision model, at timesteps drawn
// from the distribution that training draws from. B samples, made in one pass.

import Networks
import Pipelines
import Schedulers
import Tensors

/// Samples whose noise is predicted together.
package struct PredictionInputs {
    /// `[B, C, H, W]`.
    let samples: Tensor
    /// B values.
    let timesteps: [Int]
    /// B pairs.
    let conditions: PromptEmbeddings
    /// 1 predicts without guidance, in half the time.
    let guidanceScale: Float

    package init(samples: Tensor, timesteps: [Int], conditions: PromptEmbeddings, guidanceScale: Float) {
        (self.samples, self.timesteps) = (samples, timesteps)
        (self.conditions, self.guidanceScale) = (conditions, guidanceScale)
    }

    private var isGuided: Bool { guidanceScale != 1 }

    /// The samples as the model takes them: unconditional ones first where the prediction is guided.
    var modelSamples: Tensor { isGuided ? .concatenated([samples, samples], axis: 0) : samples }

    /// What the model's stages depend on.
    func conditioning(_ denoiser: any StagedDenoiser) -> DenoiserConditioning {
        let inputs = conditions.inputs(isGuided: isGuided)
        let times = (isGuided ? timesteps + timesteps : timesteps).map(Float.init)
        return denoiser.conditioning(
            timesteps: Tensor(times, shape: [times.count]), encoderHiddenStates: inputs.encoderHiddenStates,
            addedConditions: inputs.added, batch: times.count)
    }

    /// The prediction that is measured, from the model's output.
    func prediction(_ output: Tensor) -> Tensor {
        guard isGuided else { return output }
        let count = timesteps.count
        return guided(
            unconditional: output.sliced(axis: 0, 0..<count),
            conditional: output.sliced(axis: 0, count..<(2 * count)), scale: guidanceScale)
    }
}

extension PredictionInputs {
    /// Streams of random numbers for the samples that measure, and for those that train.
    static let measuring: UInt64 = 0x4e01, training: UInt64 = 0x7e01

    /// Noised images, `timestepsPerImage` of each: √ā x + √(1 - ā) ε with t ~ Beta(3, 1), in parts of `batchSize`.
    ///
    /// - Parameters:
    ///   - images: `[K, C, H, W]`, finite.
    ///   - subjects: what they show, and the seeds of their noise.
    ///   - timestepsPerImage: at least 1.
    ///   - stream: of the random numbers; different ones share no noise, nor any with sampling.
    ///   - guidanceScale: of the predictions.
    ///   - schedule: of the model.
    ///   - batchSize: samples of a part at most.
    /// - Returns: the parts, images in order, the timesteps of each together.
    static func noised(
        _ images: Tensor, subjects: CalibrationSet, timestepsPerImage: Int, stream: UInt64,
        guidanceScale: Float, schedule: NoiseSchedule, batchSize: Int
    ) -> [PredictionInputs] {
        let times = drawnTimesteps(
            subjects, timestepsPerImage: timestepsPerImage, stream: stream, schedule: schedule)
        let shape = [1] + images.shape.dropFirst()
        let samples: [(image: Int, timestep: Int, noisy: Tensor)] = times.enumerated().flatMap {
            image, own in
            var random = Philox(seed: subjects.seeds[image], stream: stream &+ 1)
            return own.map { timestep in
                let noise = random.normal(shape)
                let clean = images.sliced(axis: 0, image..<image + 1)
                return (image, timestep, schedule.addNoise(to: clean, noise: noise, timesteps: [timestep]))
            }
        }
        return stride(from: 0, to: samples.count, by: batchSize).map { first in
            let part = samples[first..<min(first + batchSize, samples.count)]
            return PredictionInputs(
                samples: .concatenated(part.map(\.noisy), axis: 0), timesteps: part.map(\.timestep),
                conditions: .concatenated(part.map { subjects.conditions[$0.image..<$0.image + 1] }),
                guidanceScale: guidanceScale)
        }
    }

    /// The timesteps of each image.
    static func drawnTimesteps(
        _ subjects: CalibrationSet, timestepsPerImage: Int, stream: UInt64, schedule: NoiseSchedule
    ) -> [[Int]] {
        subjects.seeds.map { seed in
            var random = Philox(seed: seed, stream: stream)
            return TimestepDistribution.paper.draw(
                timestepsPerImage, trainTimesteps: schedule.trainTimesteps, using: &random)
        }
    }

    /// Samples that fit into one pass: more gain nothing where a feature map alone fills the caches.
    static func batchSize(for pipeline: DiffusionPipeline, size: Int?) -> Int {
        let shape = pipeline.sampleShape(batch: 1, size: size)
        let map = pipeline.denoiser.config.blockOutChannels[0] * shape[2] * shape[3]
        return min(max((4 << 20) / map, 1), 16)
    }
}
