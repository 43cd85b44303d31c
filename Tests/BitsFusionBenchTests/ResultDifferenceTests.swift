// SPDX-License-Identifier: Apache-2.0
// The comparison of the results of two sides.

import BitsFusion
import Testing

@testable import BitsFusionBench

@Suite struct ResultDifferenceTests {
    private func tensor(_ values: Float...) -> Tensor { Tensor(values, shape: [values.count]) }

    @Test("the difference is relative to the largest value of the result in PyTorch")
    func share() {
        let difference = ResultDifference(
            ["a": tensor(1, 2), "b": tensor(10, 20)], ["a": tensor(1, 4), "b": tensor(10, 25)], type: .float32
        )
        #expect(difference.largest == 0.5)
        #expect(difference.name == "a")
    }

    @Test("equal results have difference 0, even if all values are zero")
    func equal() {
        let same = ["a": tensor(0, 0), "b": tensor(-3)]
        #expect(ResultDifference(same, same, type: .float32).largest == 0)
    }

    @Test("a missing result, another shape, NaN and no results do not agree")
    func unlike() {
        let ours = ["a": tensor(1, 2)]
        for theirs in [
            [:], ["a": tensor(1)], ["a": tensor(1, .nan)], ["a": tensor(1, 2), "b": tensor(1)],
        ] {
            #expect(ResultDifference(ours, theirs, type: .float32).largest == .infinity)
        }
        #expect(ResultDifference([:], [:], type: .float32).largest == .infinity)
    }

    @Test("gradients are compared separately in float32 and jointly in bfloat16")
    func gradients() {
        let ours = ["gradient.a": tensor(1), "gradient.b": tensor(100)]
        let theirs = ["gradient.a": tensor(2), "gradient.b": tensor(100)]
        #expect(ResultDifference(ours, theirs, type: .float32).largest == 0.5)
        #expect(ResultDifference(ours, theirs, type: .bfloat16).largest == 0.01)
    }
}
