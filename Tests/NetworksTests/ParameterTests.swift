// SPDX-License-Identifier: Apache-2.0
// Parameter providers and the store that a model registers in.

import Checkpoints
import Layers
import Tensors
import TestKit
import Testing

@testable import Networks

@Suite struct ParameterTests {
    @Test("random values depend on seed and key, not on the order of construction")
    func randomByKey() throws {
        func weights(_ order: [String], seed: UInt64) throws -> [String: [Float]] {
            let store = ParameterStore(provider: RandomParameterProvider(seed: seed))
            for name in order { _ = try Linear(ParameterPath(store) / name, in: 8, out: 4) }
            return Dictionary(uniqueKeysWithValues: store.entries.map { ($0.key, $0.source.tensor().values) })
        }
        let first = try weights(["a", "b"], seed: 1)
        #expect(first == (try weights(["b", "a"], seed: 1)))
        #expect(first["a.weight"] != first["b.weight"])
        #expect(first["a.weight"] != (try weights(["a"], seed: 2))["a.weight"])
    }

    @Test("random weights have standard deviation 1 / sqrt(fan-in), norms are 1, biases 0")
    func randomScale() throws {
        let store = ParameterStore(provider: RandomParameterProvider(seed: 0))
        let root = ParameterPath(store)
        let conv = try Conv2d(root / "conv", in: 16, out: 64, kernel: 3)
        let norm = try GroupNorm(root / "norm", channels: 8, groups: 2, epsilon: 1e-5)
        let values = conv.weight.tensor().values.map(Double.init)
        let mean = values.reduce(0, +) / Double(values.count)
        let deviation = (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
        // 9216 samples: the standard errors are 0.0104 and 0.0074 of the deviation; five of them are allowed.
        #expect(abs(mean) < 0.052 / 12)
        #expect(abs(deviation * 12 - 1) < 0.037)
        #expect(conv.bias?.value.values.allSatisfy { $0 == 0 } == true)
        #expect(norm.weight.value.values.allSatisfy { $0 == 1 })
        #expect(norm.bias.value.values.allSatisfy { $0 == 0 })
    }

    @Test("FNV-1a gives its published values")
    func hash() {
        #expect(fnv1a("") == 0xcbf2_9ce4_8422_2325)
        #expect(fnv1a("a") == 0xaf63_dc4c_8601_ec8c)
        #expect(fnv1a("foobar") == 0x8594_4171_f739_67e8)
    }

    @Test("missing keys and wrong shapes are errors that name the key")
    func errors() {
        let store = ParameterStore(provider: TensorParameterProvider(["x.weight": .zeros([3, 2])]))
        #expect(throws: ParameterError.missing(key: "y.weight")) {
            _ = try Linear(ParameterPath(store) / "y", in: 2, out: 3)
        }
        #expect(throws: ParameterError.shapeMismatch(key: "x.weight", expected: [4, 2], found: [3, 2])) {
            _ = try Linear(ParameterPath(store) / "x", in: 2, out: 4, bias: false)
        }
        #expect(ParameterError.missing(key: "y.weight").description.hasPrefix("parameter y.weight: missing"))
    }

    @Test("the store lists entries in construction order, through the layers' present weights")
    func store() throws {
        let store = ParameterStore(provider: RandomParameterProvider(seed: 0))
        let root = ParameterPath(store)
        let linear = try Linear(root / "a.b", in: 2, out: 3)
        _ = try LayerNorm(root / "norm", channels: 3)
        _ = try Embedding(root / "table", rows: 5, channels: 2, std: 1)
        #expect(
            store.entries.map(\.key) == [
                "a.b.weight", "a.b.bias", "norm.weight", "norm.bias", "table.weight",
            ])
        #expect(store.elementCount == 6 + 3 + 3 + 3 + 10)
        #expect(store.weightedLayers.map(\.path) == ["a.b", "table"])
        #expect(store.layer(at: "a.b") === linear && store.layer(at: "a") == nil)
        let half = Weight16(
            name: "a.b.weight", bits: [UInt16](repeating: 0x3c00, count: 6), shape: [3, 2], type: .float16)
        linear.weight = half
        #expect(store.parameters.map(\.name) == ["a.b.bias", "norm.weight", "norm.bias", "table.weight"])
        #expect(linear(Tensor([1, 2], shape: [1, 2])).values == [3, 3, 3])
        store.setTrainable(false)
        #expect(!linear(Tensor([1, 2], shape: [1, 2])).requiresGradient)
    }

    @Test("a copy of a model has its values, and a life of its own")
    func copy() throws {
        let store = ParameterStore(provider: RandomParameterProvider(seed: 3))
        let original = try Linear(ParameterPath(store) / "a", in: 2, out: 2)
        let copies = ParameterStore(provider: TensorParameterProvider(copying: store))
        let copy = try Linear(ParameterPath(copies) / "a", in: 2, out: 2)
        let before = original.weight.tensor().values
        #expect(copy.weight.tensor().values == before)
        try #require(copies.parameters.first).value.withUnsafeMutableBufferPointer { $0[0] += 1 }
        #expect(original.weight.tensor().values == before && copy.weight.tensor().values != before)
    }

    @Test("sinusoidal features are those of the definition, in either order, odd widths padded with 0")
    func sinusoids() {
        let cosineFirst = SinusoidalFeatures(channels: 5, cosineFirst: true, frequencyShift: 0)
        let features = cosineFirst(Tensor([0, 2], shape: [2]))
        #expect(features.shape == [2, 5])
        expectClose(
            features.values,
            [1, 1, 0, 0, 0, -0.4161468365, 0.9998000067, 0.9092974268, 0.0199986667, 0],
            Tolerance(relativeToLargest: 1e-6), "features")
        let sineFirst = SinusoidalFeatures(channels: 4, cosineFirst: false, frequencyShift: 1)
        expectClose(
            sineFirst(Tensor([2], shape: [1])).values, [0.9092974268, 0.0002, -0.4161468365, 0.99999998],
            Tolerance(relativeToLargest: 1e-6),
            "features")
    }
}
