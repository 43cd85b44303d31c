// SPDX-License-Identifier: Apache-2.0
// CLIP score, CMMD, structural similarity and Holm's correction, compared with NumPy, torchmetrics and closed forms.
// Fixture: python Tests/Fixtures/make_clip_score_fixtures.py.

import Tensors
import TestKit
import Testing

@testable import Evaluation

private struct CLIPMetricsFixture: Decodable {
    let dimension: Int
    let features, reference, texts: [Float]
    let scores: [Double]
    let cmmd, unbiasedCMMD, frechet: Double
    let imageShape: [Int]
    let images, referenceImages: [Float]
    let similarities: [Double]

    static func read() throws -> CLIPMetricsFixture { try fixture("clip-metrics", in: .module) }

    func matrix(_ values: [Float]) -> Tensor { Tensor(values, shape: [values.count / dimension, dimension]) }
}

@Suite(.tags(.golden)) struct CLIPMetricsTests {
    /// Features are stored with 9 digits, which are exact for Float32.
    private static let tolerance = Tolerance(absolute: 1e-8, relative: 1e-9)

    @Test("CLIP scores, CMMD and Fréchet distance agree with NumPy") func reference() throws {
        let numbers = try CLIPMetricsFixture.read()
        let features = numbers.matrix(numbers.features), reference = numbers.matrix(numbers.reference)
        expectClose(
            clipScores(imageFeatures: features, textFeatures: numbers.matrix(numbers.texts)), numbers.scores,
            Self.tolerance)
        expectClose(
            [clipMaximumMeanDiscrepancy(features: features, reference: reference)], [numbers.cmmd], Self.tolerance)
        expectClose(
            [clipMaximumMeanDiscrepancy(features: features, reference: reference, estimator: .unbiased)],
            [numbers.unbiasedCMMD], Self.tolerance)
        expectClose([frechetDistance(features: features, reference: reference)], [numbers.frechet], Self.tolerance)
    }

    @Test("the CLIP score does not depend on lengths, and a negative mean counts as 0") func clamped() throws {
        let numbers = try CLIPMetricsFixture.read()
        let features = numbers.matrix(numbers.features), texts = numbers.matrix(numbers.texts)
        expectClose(
            clipScores(imageFeatures: features * 3, textFeatures: texts * 0.5),
            clipScores(imageFeatures: features, textFeatures: texts), Tolerance(absolute: 1e-4))
        expectClose(clipScores(imageFeatures: features, textFeatures: features * -2), Array(repeating: -100, count: 12))
        #expect(clipScore([-3, 1]) == 0)
        #expect(clipScore([-1, 4]) == 1.5)
        #expect(clipScore([]).isNaN)
    }

    @Test("CMMD is symmetric and does not depend on lengths; of equal sets it is 0, and below 0 without bias")
    func discrepancy() throws {
        let numbers = try CLIPMetricsFixture.read()
        let a = numbers.matrix(numbers.features), b = numbers.matrix(numbers.reference)
        let distance = clipMaximumMeanDiscrepancy(features: a, reference: b)
        expectClose([clipMaximumMeanDiscrepancy(features: b, reference: a)], [distance], within: 1e-9)
        expectClose([clipMaximumMeanDiscrepancy(features: a * 4, reference: b)], [distance], within: 1e-9)
        #expect(abs(clipMaximumMeanDiscrepancy(features: a, reference: a)) < 1e-9)
        #expect(clipMaximumMeanDiscrepancy(features: a, reference: a, estimator: .unbiased) < -0.1)
        // Unit vectors at a right angle: 1000 (2 - 2 exp(-2 / 200)).
        let right = clipMaximumMeanDiscrepancy(
            features: Tensor([5, 0], shape: [1, 2]), reference: Tensor([0, 2], shape: [1, 2]))
        expectClose([right], [2000 * (1 - 0.9900498337491681)], within: 1e-9)
    }

    @Test("the structural similarity agrees with torchmetrics, and is 1 for identical images") func similarity() throws
    {
        let numbers = try CLIPMetricsFixture.read()
        let images = Tensor(numbers.images, shape: numbers.imageShape)
        let reference = Tensor(numbers.referenceImages, shape: numbers.imageShape)
        expectClose(
            structuralSimilarities(images, reference: reference, dataRange: 1), numbers.similarities,
            Tolerance(absolute: 1e-6))
        expectClose(structuralSimilarities(images, reference: images, dataRange: 1), [1, 1], within: 1e-12)
        // The range only scales values.
        expectClose(
            structuralSimilarities(images * 2, reference: reference * 2, dataRange: 2), numbers.similarities,
            Tolerance(absolute: 1e-6))
    }

    @Test("Holm's correction multiplies the smallest p-values by the number of tests left, and keeps their order")
    func holm() {
        expectClose(holmAdjusted([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], within: 1e-12)
        expectClose(holmAdjusted([0.6, 0.5]), [1, 1], within: 0)
        expectClose(holmAdjusted([0.02]), [0.02], within: 0)
        #expect(holmAdjusted([]).isEmpty)
    }

    @Test("interval and p-value of a mean follow from its standard error")
    func significance() throws {
        // Mean 2, standard error √(2 / 3 / 4) · ... of four values: s² = 8/3, s / √4 = √(2/3).
        let estimate = MeanEstimate(of: [0, 2, 2, 4])
        let error = (2.0 / 3).squareRoot()
        let interval = try #require(estimate.confidenceInterval)
        expectClose([interval.lowerBound, interval.upperBound], [2 - 1.96 * error, 2 + 1.96 * error], within: 1e-12)
        // Two-sided normal probability at z = √6, from SciPy: 2 * norm.sf(6 ** 0.5).
        expectClose([try #require(estimate.pValue)], [0.014305878435429631], within: 1e-12)
        #expect(MeanEstimate(of: [1]).pValue == nil && MeanEstimate(of: [1]).confidenceInterval == nil)
        #expect(MeanEstimate(of: [1, 1]).pValue == 0 && MeanEstimate(of: [0, 0]).pValue == 1)
        let difference = MeanEstimate(of: [3, 5], minus: [1, 1])
        #expect(difference.mean == 3 && difference.standardError == 1)
    }
}
