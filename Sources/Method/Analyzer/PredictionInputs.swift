// SPDX-License-Identifier: Apache-2.0
// The inputs on which predictions are compared: noisy samples of images of the full-precision model, at timesteps from
// the training distribution. B samples, computed in one pass.

import Networks
import Pipelines
import Schedulers
import Tensors

/// Samples of one pass.
package struct PredictionInputs {
    /// `[B, IC, H, W]`, with condition channels.
    let samples: Tensor
    /// B timesteps.
    let timesteps: [Int]
    /// The conditions of B samples.
    let conditions: PromptEmbeddings
    /// The guidance scale; 1 predicts without guidance, in half the time.
    let guidanceScale: Float

    package init(samples: Tensor, timesteps: [Int], conditions: PromptEmbeddings, guidanceScale: Float) {
        (self.samples, self.timesteps) = (samples, timesteps)
        (self.conditions, self.guidanceScale) = (conditions, guidanceScale)
    }

    private var isGuided: Bool { guidanceScale != 1 }

    /// The model's input: where predictions are guided, the samples twice, for the unconditional prediction first.
    var modelSamples: Tensor { isGuided ? .concatenated([samples, samples], axis: 0) : samples }

    /// The conditioning of the model's stages.
    func conditioning(_ denoiser: any StagedDenoiser) -> DenoiserConditioning {
        let inputs = conditions.inputs(isGuided: isGuided)
        let times = (isGuided ? timesteps + timesteps : timesteps).map(Float.init)
        return denoiser.conditioning(
            timesteps: Tensor(times, shape: [times.count]), encoderHiddenStates: inputs.encoderHiddenStates,
            addedConditions: inputs.added, batch: times.count)
    }

    /// The (guided) prediction, from the model's output.
    func prediction(_ output: Tensor) -> Tensor {
        guard isGuided else { return output }
        let count = timesteps.count
        return guided(
            unconditional: output.sliced(axis: 0, 0..<count),
            conditional: output.sliced(axis: 0, count..<(2 * count)), scale: guidanceScale)
    }
}

extension PredictionInputs {
    /// Noised images, `timestepsPerImage` of each: √ā x + √(1 - ā) ε with t ~ Beta(3, 1), in parts of `batchSize`.
    ///
    /// - Parameters:
    ///   - images: `[K, IC, H, W]`, finite. Channels from `channels` on are a condition and get no noise.
    ///   - channels: the channels that are predicted.
    ///   - calibration: their conditions, and the seeds of the noise.
    ///   - timestepsPerImage: at least 1.
    ///   - stream: what the samples are for; decides timesteps and noise.
    ///   - guidanceScale: the guidance scale of predictions.
    ///   - schedule: the noise schedule of the model.
    ///   - batchSize: the largest number of samples per part.
    /// - Returns: the parts, images in order, the timesteps of each together.
    static func noised(
        _ images: Tensor, channels: Int, calibration: CalibrationSet, timestepsPerImage: Int, stream: AnalysisStream,
        guidanceScale: Float, schedule: NoiseSchedule, batchSize: Int
    ) -> [PredictionInputs] {
        let times = drawnTimesteps(
            calibration, timestepsPerImage: timestepsPerImage, stream: stream, schedule: schedule)
        let shape = [1, channels] + images.shape.dropFirst(2)
        let samples: [(image: Int, timestep: Int, noisy: Tensor)] = times.enumerated().flatMap {
            image, timesteps in
            var random = Philox(seed: calibration.seeds[image], stream: stream.noise)
            return timesteps.map { timestep in
                let noise = random.normal(shape)
                let row = images.sliced(axis: 0, image..<image + 1)
                guard row.shape[1] > channels else {
                    return (image, timestep, schedule.addNoise(to: row, noise: noise, timesteps: [timestep]))
                }
                let noisy = schedule.addNoise(
                    to: row.sliced(axis: 1, 0..<channels), noise: noise, timesteps: [timestep])
                let condition = row.sliced(axis: 1, channels..<row.shape[1])
                return (image, timestep, .concatenated([noisy, condition], axis: 1))
            }
        }
        return stride(from: 0, to: samples.count, by: batchSize).map { first in
            let part = samples[first..<min(first + batchSize, samples.count)]
            return PredictionInputs(
                samples: .concatenated(part.map(\.noisy), axis: 0), timesteps: part.map(\.timestep),
                conditions: .concatenated(part.map { calibration.conditions[$0.image..<$0.image + 1] }),
                guidanceScale: guidanceScale)
        }
    }

    /// The timesteps of each image.
    static func drawnTimesteps(
        _ calibration: CalibrationSet, timestepsPerImage: Int, stream: AnalysisStream, schedule: NoiseSchedule
    ) -> [[Int]] {
        calibration.seeds.map { seed in
            var random = Philox(seed: seed, stream: stream.timesteps)
            return TimestepDistribution.paper.draw(
                timestepsPerImage, trainTimesteps: schedule.trainTimesteps, using: &random)
        }
    }

    /// Samples per pass, 1 ... 16: more are not faster where a feature map alone fills the caches.
    static func batchSize(for pipeline: DiffusionPipeline, size: SampleSize?) -> Int {
        let shape = pipeline.sampleShape(batch: 1, size: size)
        let map = pipeline.denoiser.config.blockOutChannels[0] * shape[2] * shape[3]
        return min(max((4 << 20) / map, 1), 16)
    }
}
