// SPDX-License-Identifier: Apache-2.0
// Errors of predictions and of the samples that they imply.

import Schedulers
import Tensors
import TestKit
import Testing

@testable import Evaluation

@Suite struct NoisePredictionErrorTests {
    @Test("the unweighted error is the mean of squares") func plain() throws {
        let numbers = try EvaluationReferences.load()
        expectClose(
            predictionErrors(numbers.imageTensor, reference: numbers.referenceTensor), numbers.imageErrors)
    }

    @Test(
        "the weighted error is that of the implied samples, in NumPy",
        arguments: [PredictionType.epsilon, .vPrediction])
    func weighted(prediction: PredictionType) throws {
        let numbers = try EvaluationReferences.load()
        let errors = predictedSampleErrors(
            numbers.imageTensor, reference: numbers.referenceTensor, timesteps: numbers.timesteps,
            schedule: NoiseSchedule(predictionType: prediction))
        // 1 - ā_0 = 0.00085 holds the Float32 rounding of ā_0, 6e-8 of 1, which is 7e-5 of it.
        expectClose(
            errors,
            prediction == .epsilon ? numbers.epsilonSampleErrors : numbers.velocitySampleErrors,
            within: 1e-4)
    }

    @Test("the same error counts more at a noisier timestep") func growsWithNoise() {
        let prediction = Tensor.ones([4, 2])
        let errors = predictedSampleErrors(
            prediction, reference: .zeros([4, 2]), timesteps: [0, 300, 700, 999], schedule: NoiseSchedule())
        #expect(errors == errors.sorted())
        #expect(errors[0] < 0.001)
        #expect(errors[3] > 100)
    }
}
