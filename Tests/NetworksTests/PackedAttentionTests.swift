// SPDX-License-Identifier: Apache-2.0
// An attention layer with packed weights: on integers where its activations are and the context is long.

import Layers
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@Suite struct PackedAttentionTests {
    /// An attention layer of packed weights, and its projections as layers of their own.
    private func layers(
        _ activations: ActivationType, channels: Int, heads: Int
    ) throws -> (attention: Attention, projections: [Linear]) {
        let provider = RandomParameterProvider(seed: 5)
        let store = ParameterStore(provider: provider), others = ParameterStore(provider: provider)
        let attention = try Attention(
            ParameterPath(store), channels: channels, crossAttentionDim: channels, heads: heads,
            headDim: channels / heads)
        let names = [("to_q", false), ("to_k", false), ("to_v", false), ("to_out.0", true)]
        let projections = try names.map { name, bias in
            try Linear(ParameterPath(others) / name, in: channels, out: channels, bias: bias)
        }
        for store in [store, others] {
            store.setTrainable(false)
            for layer in store.weightedLayers {
                let student = FakeQuantizedWeight(
                    latent: Parameter(layer.path, layer.weight.tensor(), isTrainable: false),
                    grid: QuantizationGrid(BitWidth(4)), initialization: .paper)
                let packed = try PackedWeight(
                    shape: student.shape, grid: student.grid, encoding: .radix,
                    codes: packCodes(student.codes, levels: student.grid.levels, encoding: .radix),
                    scales: student.scales)
                packed.activations = activations
                layer.weight = packed
            }
        }
        return (attention, projections)
    }

    @Test(
        "long contexts are attended on integers; others, large heads, and models without int8 activations on floats",
        arguments: [
            (ActivationType.int8, 16, integerAttentionMinimumKeys, true),
            (.int8, 16, integerAttentionMinimumKeys - 1, false),
            (.int8, integerAttentionMaximumHeadDim + 4, integerAttentionMinimumKeys, false),
            (.float32, 16, integerAttentionMinimumKeys, false),
        ])
    func choice(activations: ActivationType, headDim: Int, keys: Int, isInteger: Bool) throws {
        let heads = 2, channels = heads * headDim
        let (attention, projections) = try layers(activations, channels: channels, heads: heads)
        var random = Philox(seed: 1, stream: 0)
        let x = random.normal([1, 9, channels]), context = random.normal([1, keys, channels])
        let (q, k, v) = (projections[0](x), projections[1](context), projections[2](context))
        let attended =
            isInteger
            ? integerScaledDotProductAttention(q, k, v, heads: heads)
            : scaledDotProductAttention(q, k, v, heads: heads)
        #expect(attention(x, context: context, residual: x).values == projections[3](attended, residual: x).values)
    }
}
