// SPDX-License-Identifier: Apache-2.0
// Squared errors of images and predictions, and the peak signal-to-noise ratio.

import Schedulers
import Tensors
import TestKit
import Testing

@testable import Evaluation

@Suite struct ImageErrorsTests {
    @Test("errors of single images agree with NumPy") func perImage() throws {
        let numbers = try EvaluationReferences.load()
        expectClose(
            meanSquaredErrors(numbers.imageTensor, reference: numbers.referenceTensor), numbers.imageErrors)
    }

    @Test("the error and the ratio of a set of images agree with NumPy") func set() throws {
        let numbers = try EvaluationReferences.load()
        let error = meanSquaredError(ofImages: numbers.imageTensor, reference: numbers.referenceTensor)
        expectClose([error], [numbers.imageErrors.reduce(0, +) / 3])
        expectClose(
            [peakSignalToNoiseRatio(meanSquaredError: error, dataRange: 2)], [numbers.psnrRange2])
    }

    @Test("a difference of 0.5 at all pixels has error 0.25 and, for the range [0, 1], ratio 6.0206 dB")
    func byHand() {
        let image = Tensor.full([1, 3, 2, 2], 0.75)
        let errors = meanSquaredErrors(image, reference: .full([1, 3, 2, 2], 0.25))
        #expect(errors == [0.25])
        let decibels = peakSignalToNoiseRatio(meanSquaredError: errors[0], dataRange: 1)
        #expect(abs(decibels - 6.020599913279624) < 1e-12)
    }

    @Test("identical images have error 0 and an infinite ratio") func identical() throws {
        let images = try EvaluationReferences.load().imageTensor
        let error = meanSquaredError(ofImages: images, reference: images)
        #expect(error == 0)
        #expect(peakSignalToNoiseRatio(meanSquaredError: error, dataRange: 2) == .infinity)
    }

    @Test("twice the data range adds 6.02 dB, and an error equal to the squared range is 0 dB")
    func range() {
        let one = peakSignalToNoiseRatio(meanSquaredError: 0.01, dataRange: 1)
        let two = peakSignalToNoiseRatio(meanSquaredError: 0.01, dataRange: 2)
        expectClose([one, two - one], [20, 6.020599913279624])
        #expect(peakSignalToNoiseRatio(meanSquaredError: 4, dataRange: 2) == 0)
    }

    @Test("NaN in one image changes the error of that image only") func notANumber() {
        let images = Tensor([1, .nan, 2, 3], shape: [2, 2])
        let errors = meanSquaredErrors(images, reference: .zeros([2, 2]))
        #expect(errors[0].isNaN)
        #expect(errors[1] == 6.5)
        #expect(peakSignalToNoiseRatio(meanSquaredError: errors[0], dataRange: 2).isNaN)
    }

    @Test("a set without images has no errors") func empty() {
        #expect(meanSquaredErrors(.zeros([0, 3, 2, 2]), reference: .zeros([0, 3, 2, 2])).isEmpty)
    }
}

@Suite struct NoisePredictionErrorTests {
    @Test("the error of a prediction is its mean squared error") func plain() throws {
        let numbers = try EvaluationReferences.load()
        expectClose(
            predictionErrors(numbers.imageTensor, reference: numbers.referenceTensor), numbers.imageErrors)
    }

    @Test(
        "the error of the predicted sample agrees with NumPy",
        arguments: [PredictionType.epsilon, .vPrediction])
    func weighted(prediction: PredictionType) throws {
        let numbers = try EvaluationReferences.load()
        let errors = predictedSampleErrors(
            numbers.imageTensor, reference: numbers.referenceTensor, timesteps: numbers.timesteps,
            schedule: NoiseSchedule(predictionType: prediction))
        // The Float32 rounding of ā_0, 6e-8, is 7e-5 of 1 - ā_0 = 0.00085.
        expectClose(
            errors,
            prediction == .epsilon ? numbers.epsilonSampleErrors : numbers.velocitySampleErrors,
            within: 1e-4)
    }

    @Test("the error of the predicted sample grows with the timestep") func growsWithNoise() {
        let prediction = Tensor.ones([4, 2])
        let errors = predictedSampleErrors(
            prediction, reference: .zeros([4, 2]), timesteps: [0, 300, 700, 999], schedule: NoiseSchedule())
        #expect(errors == errors.sorted())
        #expect(errors[0] < 0.001)
        #expect(errors[3] > 100)
    }
}
