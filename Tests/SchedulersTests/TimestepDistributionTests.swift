// SPDX-License-Identifier: Apache-2.0
// Timesteps from beta distributions: against the distribution function where it is known, by moments elsewhere.

import Foundation
import QAT
import Tensors
import Testing

@testable import Schedulers

@Suite struct TimestepDistributionTests {
    private let steps = 1000

    private func draw(_ distribution: TimestepDistribution, _ count: Int = 20_000) -> [Int] {
        var random = Philox(seed: 3, stream: 1)
        return distribution.draw(count, trainTimesteps: steps, using: &random)
    }

    @Test("draws with beta = 1 follow x^alpha everywhere", arguments: [1, 1.5, 2, 3] as [Float])
    func distributionFunction(alpha: Float) {
        let drawn = draw(TimestepDistribution(alpha: alpha, beta: 1))
        #expect(drawn.allSatisfy { (0..<steps).contains($0) })
        var below = [Int](repeating: 0, count: steps + 1)
        for timestep in drawn { below[timestep + 1] += 1 }
        for step in 1...steps { below[step] += below[step - 1] }
        var furthest = 0.0
        for step in 0...steps {
            let expected = pow(Double(step) / Double(steps), Double(alpha))
            furthest = max(furthest, abs(Double(below[step]) / Double(drawn.count) - expected))
        }
        // Kolmogorov and Smirnov: a true distribution stays below this in 999 of 1000 samples.
        #expect(furthest < 1.95 / Double(drawn.count).squareRoot())
    }

    @Test("the paper draws from Beta(3, 1), mean 3/4, in both stages")
    func paper() {
        #expect(TimestepDistribution.paper == TimestepDistribution(alpha: 3, beta: 1))
        for options in [DistillationOptions.paper, .shapes] {
            for stage in DistillationStage.allCases { #expect(options[stage].timesteps == .paper) }
        }
        let drawn = draw(.paper)
        // Timesteps are rounded down, by half on average.
        let mean = Double(drawn.reduce(0, +)) / Double(drawn.count) + 0.5
        #expect(abs(mean / 1000 - 0.75) < 4 * (0.0375 / Double(drawn.count)).squareRoot())
        #expect(drawn.filter { $0 >= 500 }.count > drawn.count * 85 / 100)
    }

    @Test(
        "other shapes have the moments of a beta distribution",
        arguments: [(2, 5), (5, 2), (0.5, 0.5), (1, 3), (0.3, 2), (8, 8)] as [(Float, Float)])
    func moments(alpha: Float, beta: Float) {
        let drawn = draw(TimestepDistribution(alpha: alpha, beta: beta))
        #expect(drawn.allSatisfy { (0..<steps).contains($0) })
        let (a, b, n) = (Double(alpha), Double(beta), Double(drawn.count))
        let (mean, variance) = (a / (a + b), a * b / ((a + b) * (a + b) * (a + b + 1)))
        let values = drawn.map { (Double($0) + 0.5) / Double(steps) }
        let foundMean = values.reduce(0, +) / n
        #expect(abs(foundMean - mean) < 4 * (variance / n).squareRoot() + 1e-4)
        let squares = values.map { ($0 - foundMean) * ($0 - foundMean) }
        let foundVariance = squares.reduce(0, +) / n
        let spread = squares.reduce(0) { $0 + ($1 - foundVariance) * ($1 - foundVariance) } / n
        #expect(abs(foundVariance - variance) < 4 * (spread / n).squareRoot() + 1e-4)
    }

    @Test("tiny shapes, whose gamma variables vanish in Float32, end near 0 and T")
    func tinyShapes() {
        let drawn = draw(TimestepDistribution(alpha: 0.002, beta: 0.004), 3000)
        let late = Double(drawn.filter { $0 >= 500 }.count) / 3000
        #expect(abs(late - 1.0 / 3) < 0.04)
        #expect(drawn.filter { $0 < 10 || $0 >= 990 }.count > 2900)
    }

    @Test("quantiles are those of the draws")
    func quantiles() {
        for distribution in [TimestepDistribution.paper, .uniform, TimestepDistribution(alpha: 1.5, beta: 1)] {
            let sorted = draw(distribution).sorted()
            for probability in [Float(0.05), 0.25, 0.5, 0.9] {
                let found = sorted[Int(Float(sorted.count) * probability)]
                let expected = distribution.quantile(probability, trainTimesteps: steps)
                #expect(abs(found - expected) <= 25, "\(distribution) at \(probability)")
            }
            #expect(distribution.quantile(1, trainTimesteps: steps) == steps - 1)
            #expect(distribution.quantile(0, trainTimesteps: steps) == 0)
        }
    }

    @Test("draws follow from the random stream alone")
    func repeats() {
        #expect(draw(.paper, 50) == draw(.paper, 50))
        var random = Philox(seed: 3, stream: 2)
        #expect(
            TimestepDistribution.paper.draw(50, trainTimesteps: steps, using: &random) != draw(.paper, 50))
    }
}
