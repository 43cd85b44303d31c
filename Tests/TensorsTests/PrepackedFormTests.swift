// SPDX-License-Identifier: Apache-2.0
// Cached forms of frozen weights: never used for another shape, for other values, or for a part of the weight.

import TestKit
import Testing

@testable import Tensors

@Suite struct PrepackedFormTests {
    private func bits(_ tensor: Tensor) -> [UInt32] { tensor.values.map(\.bitPattern) }

    @Test("a reshaped linear weight does not use the cached form")
    func reshapedLinear() {
        let weight = Parameter("w", normal([64, 32], stream: 1), isTrainable: false)
        _ = linear(normal([40, 32], stream: 2), weight: weight.value, bias: nil)
        let (x, turned) = (normal([40, 64], stream: 3), weight.value.reshaped([32, 64]))
        #expect(
            bits(linear(x, weight: turned, bias: nil)) == bits(linear(x, weight: turned.copied(), bias: nil)))
    }

    @Test("a reshaped kernel does not use the cached form", arguments: [2, 4])
    func reshapedKernel(m: Int) {
        let weight = Parameter("w", normal([24, 16, 3, 3], stream: 1), isTrainable: false)
        ConvolutionAlgorithm.$forced.withValue(.winograd(m)) {
            _ = conv2d(normal([1, 16, 9, 9], stream: 2), weight: weight.value, bias: nil, padding: 1)
            let (x, turned) = (normal([1, 24, 9, 9], stream: 3), weight.value.reshaped([16, 24, 3, 3]))
            let kept = conv2d(x, weight: turned, bias: nil, padding: 1)
            #expect(bits(kept) == bits(conv2d(x, weight: turned.copied(), bias: nil, padding: 1)))
        }
    }

    @Test("a part of a weight has no cached forms")
    func parts() {
        let weight = Parameter("w", normal([64, 32], stream: 1), isTrainable: false)
        #expect(weight.value.isPrepackedOnce)
        #expect(!weight.value.sliced(axis: 0, 0..<32).isPrepackedOnce)
        #expect(!Parameter("w", normal([4, 4], stream: 1)).tensor().isPrepackedOnce, "trainable ones keep none")
    }

    @Test("a weight is prepacked again after it was written to")
    func changed() {
        let weight = Parameter("w", normal([64, 32], stream: 1), isTrainable: false)
        let x = normal([40, 32], stream: 2)
        let before = linear(x, weight: weight.value, bias: nil)
        weight.value = weight.value * 2
        #expect(bits(linear(x, weight: weight.value, bias: nil)) == bits(before * 2))
        weight.value.withUnsafeMutableBufferPointer { for index in $0.indices { $0[index] = 0 } }
        #expect(linear(x, weight: weight.value, bias: nil).values.allSatisfy { $0 == 0 })
    }

    @Test("no forms are cached inside withoutPanelCache, and results have the same bits")
    func withoutCache() {
        let weight = Parameter("w", normal([64, 32], stream: 1), isTrainable: false)
        let x = normal([40, 32], stream: 2)
        let lean = withoutPanelCache {
            #expect(!weight.value.isPrepackedOnce)
            return linear(x, weight: weight.value, bias: nil)
        }
        #expect(weight.value.storage.prepackedForms?.holds(.linear(outputs: 64, inputs: 32)) == false)
        #expect(bits(linear(x, weight: weight.value, bias: nil)) == bits(lean))
        #expect(weight.value.storage.prepackedForms?.holds(.linear(outputs: 64, inputs: 32)) == true)
    }
}
