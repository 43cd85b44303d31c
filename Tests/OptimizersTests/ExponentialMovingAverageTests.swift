// SPDX-License-Identifier: Apache-2.0
// The exponential moving average of weights, and running with the averages.

import Tensors
import TestKit
import Testing

@testable import Optimizers
@testable import QAT

@Suite struct ExponentialMovingAverageTests {
    @Test("the average follows its recursion, with the lower decay of early steps")
    func recursion() throws {
        let parameter = Parameter("p", .zeros([2]))
        let average = ExponentialMovingAverage(of: [parameter], decay: 0.5)
        let optimizer = AdamW([ParameterGroup([parameter], learningRate: 1)])
        var expected = [0.0, 0.0]
        for step in 0..<12 {
            parameter.value = Tensor([Float(step + 1), Float(step * step)], shape: [2])
            // Without a gradient the values do not change, and the average is updated.
            optimizer.update(factor: 1, maximumNorm: nil, average: average, step: step)
            // (1 + t) / (10 + t) reaches the decay of 1/2 at t = 8.
            let kept = step < 8 ? Double(1 + step) / Double(10 + step) : 0.5
            expected = zip(expected, parameter.value.values).map { $0 * kept + Double($1) * (1 - kept) }
            expectClose(
                try #require(average.averages["p"]).values, expected, .roundings(16), "step \(step)")
        }
    }

    @Test("the average starts as a copy and does not change parameters")
    func copies() {
        let parameter = Parameter("p", Tensor([1, 2], shape: [2]))
        let average = ExponentialMovingAverage(of: [parameter], decay: 0.9)
        parameter.value.withUnsafeMutableBufferPointer { $0[0] = 7 }
        #expect(average.averages["p"]?.values == [1, 2])
        AdamW([ParameterGroup([parameter], learningRate: 1)])
            .update(factor: 1, maximumNorm: nil, average: average, step: 0)
        #expect(parameter.value.values == [7, 2])
        #expect(average.averages["p"]?.values != [1, 2])
    }

    @Test("withAverages replaces the values and restores them, also after an error")
    func lending() {
        struct Interruption: Error {}
        let parameter = Parameter("p", Tensor([1], shape: [1]))
        let average = ExponentialMovingAverage(of: [parameter], decay: 0.9)
        parameter.value = Tensor([5], shape: [1])
        #expect(average.withAverages { parameter.value.values } == [1])
        #expect(parameter.value.values == [5])
        #expect(throws: Interruption.self) { try average.withAverages { throw Interruption() } }
        #expect(parameter.value.values == [5])
        #expect(average.averages["p"]?.values == [1])
    }
}
