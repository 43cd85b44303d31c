// SPDX-License-Identifier: Apache-2.0
// The losses of both stages (BitsFusion, arXiv:2406.04333, section 4.2). Squared norms are means over elements, so that
// λ does not depend on the size of the model. B batch.

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
        let size = part.count
        let batch = try data.batch(part.samples, textDropping: options.textDropping, random: &random)
        let times = options.timesteps.draw(size, trainTimesteps: schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        let noise = random.normal(batch.samples.shape)
        let noisy = schedule.addNoise(to: batch.samples, noise: noise, timesteps: times)
        let timesteps = Tensor(times.map(Float.init), shape: [size])
        guard stage == .one, let teacher else {
            let prediction = student(
                noisy, timesteps: timesteps, encoderHiddenStates: batch.encoderHiddenStates)
            let target = schedule.target(sample: batch.samples, noise: noise, timesteps: times)
            let loss = meanSquaredError(prediction, target)
            return StepLoss(loss, parts: ["noise": loss.item])
        }
        let (ofTeacher, ofStudent) = (BlockFeatures(), BlockFeatures())
        let collects = options.featureWeight > 0
        let target = withoutGradients {
            teacher(
                noisy, timesteps: timesteps, encoderHiddenStates: batch.encoderHiddenStates,
                features: collects ? ofTeacher : nil)
        }
        let prediction = student(
            noisy, timesteps: timesteps, encoderHiddenStates: batch.encoderHiddenStates,
            features: collects ? ofStudent : nil)
        let noiseLoss = meanSquaredError(prediction, target)
        guard collects else { return StepLoss(noiseLoss, parts: ["noise": noiseLoss.item]) }
        let featureLoss = zip(ofStudent.compared, ofTeacher.compared)
            .map { meanSquaredError($0, $1) }
            .reduce(Tensor(scalar: 0)) { $0 + $1 }
        return StepLoss(
            noiseLoss + featureLoss * options.featureWeight,
            parts: ["noise": noiseLoss.item, "feature": featureLoss.item])
    }
}
