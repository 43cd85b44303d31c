// SPDX-License-Identifier: Apache-2.0
// Timesteps from beta distributions, compared with the distribution function where it has a closed form, and with the
// first two moments elsewhere.

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

    @Test("draws with beta = 1 have the distribution function x^alpha", arguments: [1, 1.5, 2, 3] as [Float])
    func distributionFunction(alpha: Float) {
        let drawn = draw(TimestepDistribution(alpha: alpha, beta: 1))
        #expect(drawn.allSatisfy { (0..<steps).contains($0) })
        var below = [Int](repeating: 0, count: steps + 1)
        for timestep in drawn { below[timestep + 1] += 1 }
        for step in 1...steps { below[step] += below[step - 1] }
        var largestDifference = 0.0
        for step in 0...steps {
            let expected = pow(Double(step) / Double(steps), Double(alpha))
            largestDifference = max(largestDifference, abs(Double(below[step]) / Double(drawn.count) - expected))
        }
        // Kolmogorov-Smirnov: draws from the distribution exceed this bound with probability 1/1000.
        #expect(largestDifference < 1.95 / Double(drawn.count).squareRoot())
    }

    @Test("the paper's distribution is Beta(3, 1), with mean 3/4, in both stages")
    func paper() {
        #expect(TimestepDistribution.paper == TimestepDistribution(alpha: 3, beta: 1))
        for options in [DistillationOptions.paper, .shapes] {
            for stage in DistillationStage.allCases { #expect(options[stage].timesteps == .paper) }
        }
        let drawn = draw(.paper)
        // Timesteps are rounded down, by 1/2 on average.
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

    @Test("small alpha and beta, whose gamma variables underflow in Float32, give timesteps near 0 and T")
    func tinyShapes() {
        let drawn = draw(TimestepDistribution(alpha: 0.002, beta: 0.004), 3000)
        let late = Double(drawn.filter { $0 >= 500 }.count) / 3000
        #expect(abs(late - 1.0 / 3) < 0.04)
        #expect(drawn.filter { $0 < 10 || $0 >= 990 }.count > 2900)
    }

    @Test("draws depend on the random stream only")
    func repeats() {
        #expect(draw(.paper, 50) == draw(.paper, 50))
        var random = Philox(seed: 3, stream: 2)
        #expect(
            TimestepDistribution.paper.draw(50, trainTimesteps: steps, using: &random) != draw(.paper, 50))
    }

    @Test(
        "stratified timesteps are close to the middles of strata of equal probability",
        arguments: [1, 3] as [Float], [1, 8, 32])
    func stratified(alpha: Float, count: Int) {
        var random = Philox(seed: 4, stream: 2)
        let drawn = TimestepDistribution(alpha: alpha, beta: 1)
            .stratified(count, trainTimesteps: steps, using: &random)
        #expect(drawn.count == count && drawn == drawn.sorted())
        for (index, timestep) in drawn.enumerated() {
            let probability = pow((Double(timestep) + 0.5) / Double(steps), Double(alpha))
            // The median of 63 uniform values has a standard deviation of 0.062; order statistics of many strata move
            // together.
            #expect(abs(probability - (Double(index) + 0.5) / Double(count)) < 0.25, "\(index): \(timestep)")
        }
    }
}
