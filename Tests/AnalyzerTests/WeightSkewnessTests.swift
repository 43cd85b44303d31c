// SPDX-License-Identifier: Apache-2.0
// The skewness of weights against numbers computed by hand.

import Tensors
import Testing

@testable import Analyzer

@Suite struct WeightSkewnessTests {
    @Test("a distribution with a tail is skewed to the tail's side, its mirror image the other way")
    func tail() {
        // mean 1, m2 = (3*1 + 9)/4 = 3, m3 = (-3 + 27)/4 = 6, g = 6 / 3^1.5.
        let expected = 6 / (3 * 3.0.squareRoot())
        #expect(abs(skewness(of: Tensor([0, 0, 0, 4], shape: [2, 2])) - expected) < 1e-12)
        #expect(abs(skewness(of: Tensor([0, 0, 0, -4], shape: [2, 2])) + expected) < 1e-12)
    }

    @Test("symmetric, constant and empty weights have skewness 0", arguments: [[-2, -1, 1, 2], [3, 3], []])
    func none(values: [Float]) {
        #expect(skewness(of: Tensor(values, shape: [values.count])) == 0)
    }

    @Test("scaling weights leaves their skewness alone") func scaling() {
        let values: [Float] = [0.5, 1, 4, -3, 7, 0.25]
        let reference = skewness(of: Tensor(values, shape: [6]))
        for factor: Float in [1e-20, 1e-3, 1e10] {
            #expect(abs(skewness(of: Tensor(values.map { $0 * factor }, shape: [6])) - reference) < 1e-6)
        }
    }
}
