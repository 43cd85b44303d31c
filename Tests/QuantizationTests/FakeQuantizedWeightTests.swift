// SPDX-License-Identifier: Apache-2.0
// The weight of a student layer: what it hands to the layer, to the optimizer and to the packer.

import Recipes
import Tensors
import TestKit
import Testing

@testable import Quantization

@Suite struct FakeQuantizedWeightTests {
    private func weight(bits: Int = 2) -> FakeQuantizedWeight {
        FakeQuantizedWeight(
            latent: Parameter("mid.to_q.weight", normal([4, 25], deviation: 0.2)), bits: BitWidth(bits),
            initialization: .paper)
    }

    @Test("latent weight and scales are two leaves, named after the layer's key")
    func leaves() {
        let weight = weight()
        #expect(weight.parameters.map(\.name) == ["mid.to_q.weight", "mid.to_q.weight.scale"])
        #expect(weight.shape == [4, 25])
        #expect(weight.scaleParameter.shape == [4])
        #expect(
            weight.scaleParameter.value.values
                == ScaleInitialization.paper.scales(of: weight.latent.value, grid: weight.grid).values)
    }

    @Test("both leaves get gradients, and the layer sees the codes times the scales")
    func gradients() {
        let weight = weight()
        let seen = weight.tensor()
        #expect(
            seen.values
                == GridQuantizer.dequantize(weight.codes, scales: weight.scales, shape: [4, 25])
                .values
        )
        #expect(Set(weight.codes).isSubset(of: Set(-2...2)))
        (seen * normal([4, 25], stream: 1)).sum().backward()
        #expect(weight.latent.gradient?.shape == [4, 25])
        #expect(weight.scaleParameter.gradient?.shape == [4])
    }

    @Test("the layer sees scales at zero, below it or NaN as tiny positive ones, and changes none of them")
    func collapsedScales() {
        let weight = weight()
        weight.scaleParameter.value = Tensor([0.5, 0, -1, .nan], shape: [4])
        let used = weight.scales.values
        #expect(used[0] == 0.5)
        #expect(used[1...].allSatisfy { $0 > 0 && $0 < 1e-30 && $0.isNormal })
        #expect(Array(weight.scaleParameter.value.values[..<3]) == [0.5, 0, -1])
        let seen = weight.tensor()
        #expect(seen.values.allSatisfy { $0.isFinite })
        seen.sum().backward()
        #expect(weight.scaleParameter.gradient?.values.allSatisfy { $0.isFinite } == true)
        #expect(weight.latent.gradient?.values.allSatisfy { $0.isFinite } == true)
    }

    @Test("scales of another length trap")
    func wrongScales() async {
        await #expect(processExitsWith: .failure) {
            _ = FakeQuantizedWeight(
                latent: Parameter("w", .ones([3, 2])), scales: Parameter("w.scale", .ones([2])),
                grid: QuantizationGrid(BitWidth(1)))
        }
    }
}
