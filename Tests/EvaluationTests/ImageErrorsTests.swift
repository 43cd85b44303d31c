// SPDX-License-Identifier: Apache-2.0
// Pixel errors and their decibels.

import Tensors
import TestKit
import Testing

@testable import Evaluation

@Suite struct ImageErrorsTests {
    @Test("errors per image are NumPy's") func perImage() throws {
        let numbers = try EvaluationReferences.load()
        expectClose(
            meanSquaredErrors(numbers.imageTensor, reference: numbers.referenceTensor), numbers.imageErrors)
    }

    @Test("the error of a set is the mean over its images, in decibels as NumPy has it") func set() throws {
        let numbers = try EvaluationReferences.load()
        let error = meanSquaredError(ofImages: numbers.imageTensor, reference: numbers.referenceTensor)
        expectClose([error], [numbers.imageErrors.reduce(0, +) / 3])
        expectClose(
            [peakSignalToNoiseRatio(meanSquaredError: error, dataRange: 2)], [numbers.psnrRange2])
    }

    @Test("an image that is off by 0.5 everywhere has error 0.25 and, in [0, 1], 6.0206 dB")
    func byHand() {
        let image = Tensor.full([1, 3, 2, 2], 0.75)
        let errors = meanSquaredErrors(image, reference: .full([1, 3, 2, 2], 0.25))
        #expect(errors == [0.25])
        let decibels = peakSignalToNoiseRatio(meanSquaredError: errors[0], dataRange: 1)
        #expect(abs(decibels - 6.020599913279624) < 1e-12)
    }

    @Test("identical images have error 0 and infinite ratio") func identical() throws {
        let images = try EvaluationReferences.load().imageTensor
        let error = meanSquaredError(ofImages: images, reference: images)
        #expect(error == 0)
        #expect(peakSignalToNoiseRatio(meanSquaredError: error, dataRange: 2) == .infinity)
    }

    @Test("twice the data range is 6.02 dB more, an error as large as the squared range 0 dB")
    func range() {
        let one = peakSignalToNoiseRatio(meanSquaredError: 0.01, dataRange: 1)
        let two = peakSignalToNoiseRatio(meanSquaredError: 0.01, dataRange: 2)
        expectClose([one, two - one], [20, 6.020599913279624])
        #expect(peakSignalToNoiseRatio(meanSquaredError: 4, dataRange: 2) == 0)
    }

    @Test("NaN in one image stays in that image") func notANumber() {
        let images = Tensor([1, .nan, 2, 3], shape: [2, 2])
        let errors = meanSquaredErrors(images, reference: .zeros([2, 2]))
        #expect(errors[0].isNaN)
        #expect(errors[1] == 6.5)
        #expect(peakSignalToNoiseRatio(meanSquaredError: errors[0], dataRange: 2).isNaN)
    }

    @Test("no images have no errors") func empty() {
        #expect(meanSquaredErrors(.zeros([0, 3, 2, 2]), reference: .zeros([0, 3, 2, 2])).isEmpty)
    }
}
