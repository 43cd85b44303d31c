// SPDX-License-Identifier: Apache-2.0
// Scores of sets of images, and their standard errors.

import TestKit
import Testing

@testable import Evaluation

@Suite struct CompositionalScoreTests {
    private let score = CompositionalScore(
        [("counting", true), ("counting", false), ("colors", true), ("counting", false), ("counting", false)]
            .map { (family: $0.0, isSatisfied: $0.1) })

    @Test("families have their order, shares and counts") func families() {
        #expect(score.families.map(\.name) == ["counting", "colors"])
        #expect(score.families.map(\.score) == [0.25, 1])
        #expect(score.families.map(\.count) == [4, 1])
        #expect(score.count == 5)
    }

    @Test("the overall score is the mean over families, not over images") func overall() {
        #expect(score.overall == 0.625)
    }

    @Test("standard errors follow the binomial distribution") func standardErrors() {
        expectClose(score.families.map(\.standardError), [(0.25 * 0.75 / 4).squareRoot(), 0])
        expectClose([score.overallStandardError], [(0.25 * 0.75 / 4).squareRoot() / 2])
    }

    @Test("the score without images is NaN") func empty() {
        #expect(CompositionalScore([]).overall.isNaN)
    }
}

@Suite struct MeanEstimateTests {
    @Test("mean and standard error agree with NumPy") func reference() throws {
        let numbers = try EvaluationReferences.load()
        let estimate = MeanEstimate(of: numbers.xs)
        let error = try #require(estimate.standardError)
        expectClose([estimate.mean, error], [numbers.xs.reduce(0, +) / 12, numbers.standardError])
        #expect(estimate.count == 12)
    }

    @Test("one value has no standard error, and the mean of no values is NaN") func small() {
        #expect(MeanEstimate(of: [3]).mean == 3)
        #expect(MeanEstimate(of: [3]).standardError == nil)
        #expect(MeanEstimate(of: []).mean.isNaN)
    }
}
