// SPDX-License-Identifier: Apache-2.0
// Sums of gradients in fixed point: exact against integers, independent of the order, repeated after an overflow.

import Tensors
import TestKit
import Testing

@testable import Optimizers

@Suite struct GradientAccumulatorTests {
    /// Adds the gradients of Σ w · g for each g, whose gradient is g.
    private func add(
        _ gradients: [[Tensor]], of parameters: [Parameter], to accumulator: GradientAccumulator
    ) throws {
        for terms in gradients {
            try accumulator.adding {
                zip(parameters, terms).map { ($0.tensor() * $1).sum() }.reduce(Tensor(scalar: 0)) { $0 + $1 }
                    .backward()
            }
        }
    }

    private func parameters() -> [Parameter] {
        [Parameter("a", .ones([3, 40_000])), Parameter("b", .ones([5])), Parameter("c", .ones([7]))]
    }

    private func gradients(_ count: Int, scale: Float = 1) -> [[Tensor]] {
        (0..<count).map { index in
            var random = Philox(seed: 5, stream: UInt64(index))
            return [random.normal([3, 40_000]) * scale, random.normal([5]) * 1e-6, random.normal([7]) * 1e4]
        }
    }

    /// The gradients of `parameters` after adding `terms`; calibrated by `first`.
    private func sums(
        _ terms: [[Tensor]], calibratedBy first: [Tensor]
    ) throws -> (values: [[Float]], outcome: GradientAccumulator.Outcome) {
        let parameters = parameters(), accumulator = GradientAccumulator(parameters)
        accumulator.calibrate(microBatches: terms.count) {
            zip(parameters, first).map { ($0.tensor() * $1).sum() }.reduce(Tensor(scalar: 0)) { $0 + $1 }.backward()
        }
        #expect(parameters.allSatisfy { $0.gradient == nil && $0.gradientReceiver == nil })
        accumulator.reset()
        try add(terms, of: parameters, to: accumulator)
        let outcome = accumulator.outcome(of: accumulator.summary)
        guard outcome == .complete else { return ([], outcome) }
        try accumulator.reduce { _, _ in }
        accumulator.setGradients()
        return (parameters.map { $0.gradient?.values ?? [] }, outcome)
    }

    @Test("sums are the same bits in any order, and close to sums in double precision")
    func order() throws {
        let terms = gradients(16)
        let (sums, outcome) = try sums(terms, calibratedBy: terms[0])
        #expect(outcome == .complete)
        for order in [Array(terms.reversed()), Array(terms[5...] + terms[..<5])] {
            #expect(try self.sums(order, calibratedBy: terms[0]).values == sums)
        }
        for index in 0..<3 {
            let exact = terms[0][index].values.indices.map { element in
                terms.reduce(0.0) { $0 + Double($1[index].values[element]) }
            }
            let largest = terms.reduce(0.0) { $0 + Double($1[index].values.map(abs).max() ?? 0) }
            for (found, expected) in zip(sums[index], exact) {
                // 16 roundings, by 2^-27 of the sum of magnitudes that the calibration expects, and one to Float32.
                let bound = 16 * 0x1p-26 * largest + abs(expected) * 0x1p-24
                #expect(abs(Double(found) - expected) <= bound)
                guard abs(Double(found) - expected) <= bound else { return }
            }
        }
    }

    @Test("a gradient that is larger than the headroom is detected, and the repeated sum is exact")
    func overflow() throws {
        let parameters = [Parameter("w", .ones([4]))], accumulator = GradientAccumulator(parameters)
        let small = Tensor([1, -1, 0.5, 0], shape: [4])
        accumulator.calibrate(microBatches: 2) { (parameters[0].tensor() * small).sum().backward() }
        let before = try #require(accumulator.exponentsByName["w"])
        // 16 times the largest magnitude is within the headroom, 100 times is not.
        for (factor, attempts) in [(Float(15), 1), (100, 2), (1e12, 4)] {
            accumulator.exponentsByName = ["w": before]
            var outcomes: [GradientAccumulator.Outcome] = []
            repeat {
                accumulator.reset()
                try add([[small * factor], [small]], of: parameters, to: accumulator)
                outcomes.append(accumulator.outcome(of: accumulator.summary))
            } while outcomes.last == .overflow && outcomes.count < 10
            #expect(outcomes.last == .complete)
            #expect(outcomes.count <= attempts, "\(factor)")
            try accumulator.reduce { _, _ in }
            accumulator.setGradients()
            let expected = (small * (factor + 1)).values
            expectClose(
                parameters[0].gradient?.values ?? [], expected, Tolerance(absolute: 0, relative: 0x1p-23), "\(factor)")
            parameters[0].gradient = nil
        }
    }

    @Test("exponents follow the gradients")
    func exponents() throws {
        let parameters = [Parameter("w", .ones([2]))], accumulator = GradientAccumulator(parameters)
        func step(_ value: Float) throws -> Int? {
            accumulator.reset()
            try add([[Tensor([value, 0], shape: [2])]], of: parameters, to: accumulator)
            #expect(accumulator.outcome(of: accumulator.summary) == .complete)
            return accumulator.exponentsByName["w"]
        }
        #expect(accumulator.needsCalibration)
        accumulator.calibrate(microBatches: 1) {
            (parameters[0].tensor() * Tensor([1, 0], shape: [2])).sum().backward()
        }
        #expect(!accumulator.needsCalibration)
        // 1 < 2^1: 31 - 4 - 1.
        #expect(accumulator.exponentsByName["w"] == 26)
        #expect(try step(1) == 26)
        #expect(try step(0x1p-8) == 34)
        #expect(try step(0) == 34, "zeros say nothing")
        // A term below one unit counts as one.
        #expect(try step(0x1p-140) == 60)
        #expect(try step(0x1p-140) == 86)
        for _ in 0..<4 { _ = try step(0x1p-140) }
        #expect(accumulator.exponentsByName["w"] == 126, "the scale is a normal number")
    }

    @Test("infinities and NaNs are detected", arguments: [Float.infinity, -.infinity, .nan])
    func notFinite(value: Float) throws {
        var terms = gradients(3)
        let first = terms[0]
        var values = terms[1][1].values
        values[2] = value
        terms[1][1] = Tensor(values, shape: [5])
        #expect(try sums(terms, calibratedBy: first).outcome == .notFinite)
    }

    @Test("a parameter without a gradient has none afterwards, and one of another process has zeros here")
    func missing() throws {
        let parameters = parameters(), accumulator = GradientAccumulator(parameters)
        accumulator.calibrate(microBatches: 1) { (parameters[1].tensor() * Tensor.ones([5])).sum().backward() }
        accumulator.reset()
        try accumulator.adding { (parameters[1].tensor() * Tensor.full([5], 2)).sum().backward() }
        var summary = accumulator.summary
        // Another process has a term of the third parameter, whose integers are 0.
        summary[1 + 3 + 2] += 1
        #expect(accumulator.outcome(of: summary) == .complete)
        try accumulator.reduce { _, _ in }
        accumulator.setGradients()
        #expect(parameters[0].gradient == nil)
        #expect(parameters[1].gradient?.values == [2, 2, 2, 2, 2])
        #expect(parameters[2].gradient?.values == [0, 0, 0, 0, 0, 0, 0])
    }
}
