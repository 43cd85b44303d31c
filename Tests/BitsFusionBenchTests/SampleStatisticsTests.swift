// SPDX-License-Identifier: Apache-2.0
// Medians, quartiles and exponents of curves.

import Testing

@testable import BitsFusionBench

@Suite struct SampleStatisticsTests {
    @Test("quartiles of 1...5 in any order are 2, 3 and 4")
    func oddCount() throws {
        let statistics = try #require(SampleStatistics([5, 1, 4, 2, 3]))
        #expect(statistics.minimum == 1 && statistics.maximum == 5)
        #expect(
            [statistics.lowerQuartile, statistics.median, statistics.upperQuartile] == [2, 3, 4])
        #expect(statistics.count == 5)
    }

    @Test("quartiles between two measurements are interpolated as in numpy.quantile")
    func evenCount() throws {
        // numpy.quantile([10, 20, 40, 80], [0.25, 0.5, 0.75]) -> [17.5, 30.0, 50.0]
        let statistics = try #require(SampleStatistics([80, 10, 40, 20]))
        #expect(
            [statistics.lowerQuartile, statistics.median, statistics.upperQuartile] == [17.5, 30, 50])
    }

    @Test("all statistics of a single measurement equal it; without measurements there are none")
    func few() throws {
        let one = try #require(SampleStatistics([7]))
        #expect(
            [one.minimum, one.lowerQuartile, one.median, one.upperQuartile, one.maximum] == [7, 7, 7, 7, 7])
        #expect(SampleStatistics([]) == nil)
    }

    @Test(
        "a power law's exponent is found from its points",
        arguments: [0.0, 1.0, 1.5, 2.0])
    func exponent(power: Double) throws {
        let sizes = [8.0, 16, 32, 64]
        let costs = sizes.map { size in
            (0..<Int(power * 2)).reduce(3.0) { cost, _ in cost * size.squareRoot() }
        }
        let found = try #require(CurveTable.exponent(sizes: sizes, costs: costs))
        #expect(abs(found - power) < 1e-12)
    }

    @Test("points with equal sizes have no exponent")
    func noExponent() {
        #expect(CurveTable.exponent(sizes: [8, 8], costs: [1, 2]) == nil)
        #expect(CurveTable.exponent(sizes: [], costs: []) == nil)
    }
}
