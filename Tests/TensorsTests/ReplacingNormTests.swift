// SPDX-License-Identifier: Apache-2.0
// Group normalization that overwrites its input: only where nothing else can see it.

import TestKit
import Testing

@testable import Tensors

@Suite struct ReplacingNormTests {
    private let weight = normal([8], stream: 2), bias = normal([8], stream: 3)

    private func normalize(_ x: Tensor) -> Tensor {
        groupNorm(x, groups: 2, weight: weight, bias: bias, epsilon: 1e-6, silu: true)
    }

    private func replace(_ x: inout Tensor) {
        groupNorm(replacing: &x, groups: 2, weight: weight, bias: bias, epsilon: 1e-6, silu: true)
    }

    @Test("a tensor that nothing shares is overwritten, with the same bits")
    func overwritten() {
        var x = normal([2, 8, 5, 7], stream: 1)
        let expected = normalize(x).values
        let address = x.pointer
        replace(&x)
        #expect(x.pointer == address && x.values == expected)
    }

    @Test("a shared tensor keeps its values")
    func shared() {
        var x = normal([2, 8, 5, 7], stream: 1)
        let (copy, view) = (x, x.reshaped([2, 8, 35]))
        let (before, expected) = (x.values, normalize(x).values)
        replace(&x)
        #expect(x.values == expected && copy.values == before && view.values == before)
    }

    @Test("a tensor on the tape keeps its values, and its gradient is that of groupNorm")
    func recorded() {
        let parameter = Parameter("x", normal([2, 8, 5, 7], stream: 1))
        func gradient(_ apply: (inout Tensor) -> Void) -> [Float]? {
            parameter.gradient = nil
            var x = parameter.tensor() * 2
            apply(&x)
            x.backward(normal([2, 8, 5, 7], stream: 4))
            return parameter.gradient?.values
        }
        let replaced = gradient { replace(&$0) }
        #expect(replaced != nil && replaced == gradient { $0 = normalize($0) })
    }
}
