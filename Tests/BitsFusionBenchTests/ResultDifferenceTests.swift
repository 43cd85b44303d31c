// SPDX-License-Identifier: Apache-2.0
// When two sides' results count as the same.

import BitsFusion
import Testing

@testable import BitsFusionBench

@Suite struct ResultDifferenceTests {
    private func tensor(_ values: Float...) -> Tensor { Tensor(values, shape: [values.count]) }

    @Test("the largest difference is a share of that result's largest value in PyTorch")
    func share() {
        let difference = ResultDifference(
            ["a": tensor(1, 2), "b": tensor(10, 20)], ["a": tensor(1, 4), "b": tensor(10, 25)], type: .float32
        )
        #expect(difference.largest == 0.5)
        #expect(difference.name == "a")
    }

    @Test("equal results differ by nothing, even where all are zero")
    func equal() {
        let same = ["a": tensor(0, 0), "b": tensor(-3)]
        #expect(ResultDifference(same, same, type: .float32).largest == 0)
    }

    @Test("a missing result, another shape, NaN and no result at all are no agreement")
    func unlike() {
        let ours = ["a": tensor(1, 2)]
        for theirs in [
            [:], ["a": tensor(1)], ["a": tensor(1, .nan)], ["a": tensor(1, 2), "b": tensor(1)],
        ] {
            #expect(ResultDifference(ours, theirs, type: .float32).largest == .infinity)
        }
        #expect(ResultDifference([:], [:], type: .float32).largest == .infinity)
    }

    @Test("gradients are measured one by one in float32 and together in bfloat16")
    func gradients() {
        let ours = ["gradient.a": tensor(1), "gradient.b": tensor(100)]
        let theirs = ["gradient.a": tensor(2), "gradient.b": tensor(100)]
        #expect(ResultDifference(ours, theirs, type: .float32).largest == 0.5)
        #expect(ResultDifference(ours, theirs, type: .bfloat16).largest == 0.01)
    }
}
