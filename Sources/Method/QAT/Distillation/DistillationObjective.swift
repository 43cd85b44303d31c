// SPDX-License-Identifier: Apache-2.0
// The losses of both stages (BitsFusion, arXiv:2406.04333, section 4.2). Stage I is CFG-aware: `textDropping` replaces
// captions by the empty prompt, for teacher and student. Timesteps are drawn from `StageOptions.timesteps`, by default
// Beta(3, 1). Squared norms are means over elements, so that λ does not depend on the size of the model. Of
// models with condition channels, such as those for inpainting, only the channels that are predicted get noise, as in
// diffusers' train_instruct_pix2pix.py. B batch.

import DataSets
import Networks
import Schedulers
import Tensors

/// The loss of one distillation step.
public struct DistillationObjective {
    /// The frozen full-precision model; nil in stage II.
    public let teacher: (any Denoiser)?
    public let student: any Denoiser
    public let schedule: NoiseSchedule
    public let data: any DistillationData
    public let stage: DistillationStage
    public let options: StageOptions

    /// - Precondition: stage I has a teacher.
    public init(
        teacher: (any Denoiser)?, student: any Denoiser, schedule: NoiseSchedule,
        data: any DistillationData, stage: DistillationStage, options: StageOptions
    ) {
        precondition(stage == .two || teacher != nil, "distillation: stage 1 needs the teacher")
        self.teacher = teacher
        self.student = student
        self.schedule = schedule
        self.data = data
        self.stage = stage
        self.options = options
    }

    /// The mean loss over `part`'s samples.
    ///
    /// - Throws: what the data throws.
    public func callAsFunction(_ part: MicroBatch, random: inout Philox) throws -> StepLoss {
        let start = ContinuousClock.now
        // Frozen text encoders compute as in sampling, also where the data prepares batches on other threads.
        let batch = try withProductPrecision(.float32) {
            try data.batch(part.samples, textDropping: options.textDropping, random: &random)
        }
        let dataSeconds = (ContinuousClock.now - start) / .seconds(1)
        let times = options.timesteps.draw(part.count, trainTimesteps: schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        var loss = loss(of: batch, timesteps: times) { random.normal($0) }
        loss.dataSeconds = dataSeconds
        return loss
    }

    /// The mean loss over the samples of a batch.
    ///
    /// - Parameters:
    ///   - batch: B samples.
    ///   - times: B timesteps.
    ///   - noise: standard normal values of the given shape, that of the predicted channels.
    /// - Returns: the loss, and its parts by name.
    func loss(of batch: DistillationBatch, timesteps times: [Int], noise: ([Int]) -> Tensor) -> StepLoss {
        let (clean, condition) = split(batch.samples)
        let noise = noise(clean.shape)
        let noisy = schedule.addNoise(to: clean, noise: noise, timesteps: times)
        // On its own trajectories the teacher is asked where it will be when it samples.
        let states = stage == .one ? batch.states : nil
        let input = states?.samples ?? condition.map { .concatenated([noisy, $0], axis: 1) } ?? noisy
        let timesteps = Tensor(states?.timesteps ?? times.map(Float.init), shape: [times.count])
        func predict(_ model: any Denoiser, _ features: BlockFeatures? = nil) -> Tensor {
            model(
                input, timesteps: timesteps, encoderHiddenStates: batch.encoderHiddenStates,
                addedConditions: batch.addedConditions, features: features)
        }
        guard stage == .one, let teacher else {
            let prediction = predict(student)
            let target = schedule.target(sample: clean, noise: noise, timesteps: times)
            let loss = meanSquaredError(prediction, target)
            return StepLoss(loss, parts: ["noise": loss.item])
        }
        let (ofTeacher, ofStudent) = (BlockFeatures(), BlockFeatures())
        let collects = options.featureWeight > 0
        let target = withoutGradients { predict(teacher, collects ? ofTeacher : nil) }
        let prediction = predict(student, collects ? ofStudent : nil)
        let noiseLoss = meanSquaredError(prediction, target)
        guard collects else { return StepLoss(noiseLoss, parts: ["noise": noiseLoss.item]) }
        let featureLoss = zip(ofStudent.compared, ofTeacher.compared)
            .map { options.featureLoss(student: $0, teacher: $1) }
            .reduce(Tensor(scalar: 0)) { $0 + $1 }
        return StepLoss(
            noiseLoss + featureLoss * options.featureWeight,
            parts: ["noise": noiseLoss.item, "feature": featureLoss.item])
    }

    /// The channels that are noised and predicted, and the condition channels behind them, if the model has any.
    private func split(_ samples: Tensor) -> (clean: Tensor, condition: Tensor?) {
        let further = student.config.conditionChannels
        guard further > 0 else { return (samples, nil) }
        let channels = samples.shape[1] - further
        return (
            samples.sliced(axis: 1, 0..<channels), samples.sliced(axis: 1, channels..<channels + further)
        )
    }
}
