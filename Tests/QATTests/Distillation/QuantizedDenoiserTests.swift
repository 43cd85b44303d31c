// SPDX-License-Identifier: Apache-2.0
// Quantization of a denoiser: the quantized weights, their bits, and the unchanged parameters.

import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct QuantizedDenoiserTests {
    @Test("all linear and convolution layers except time layers are quantized, conv_in and conv_out to 8 bits")
    func bits() throws {
        let unet = try TinyModel.unet()
        try unet.quantize(recipe: TinyModel.recipe(2), initialization: .paper)
        for layer in unet.store.weightedLayers {
            let isTimeLayer =
                layer.path.hasPrefix("time_embedding.") || layer.path.hasSuffix(".time_emb_proj")
            let weight = layer.weight as? FakeQuantizedWeight
            #expect((weight == nil) == isTimeLayer, "\(layer.path)")
            let expected = ["conv_in", "conv_out"].contains(layer.path) ? 8 : 2
            if let weight { #expect(weight.grid.bits == BitWidth(expected), "\(layer.path)") }
            #expect(layer.bias.map { $0.value.rank == 1 } ?? true)
        }
        #expect(unet.quantizedLayers.count > 20)
    }

    @Test("latent weights are the teacher's, and scales those of the initialization")
    func values() throws {
        let (teacher, unet) = (try TinyModel.unet(), try TinyModel.unet())
        var reported: [Int] = []
        try unet.quantize(recipe: TinyModel.recipe(3), initialization: .minMax) { done, total in
            reported.append(done)
            #expect(total == unet.quantizedLayers.count)
        }
        #expect(reported == Array(1...unet.quantizedLayers.count))
        for layer in unet.quantizedLayers {
            let weight = try #require(layer.weight as? FakeQuantizedWeight)
            let dense = try #require(teacher.store.layer(at: layer.path)).weight.tensor().detached()
            #expect(weight.latent.value.values == dense.values)
            #expect(
                weight.scales.values
                    == ScaleInitialization.minMax.scales(of: dense, grid: weight.grid).values)
        }
    }

    @Test("the prediction error of a student decreases with its bits")
    func closeness() throws {
        var random = Philox(seed: 3)
        let (sample, context) = (random.normal([2, 3, 8, 8]), random.normal([2, 4, TinyModel.crossAttentionDim]))
        func prediction(_ unet: any Denoiser) -> [Float] {
            withoutGradients {
                unet(sample, timesteps: Tensor([500], shape: [1]), encoderHiddenStates: context).values
            }
        }
        let expected = prediction(try TinyModel.unet())
        func error(_ bits: Int) throws -> Double {
            let unet = try TinyModel.unet()
            try unet.quantize(recipe: TinyModel.recipe(bits), initialization: .paper)
            let pairs = zip(prediction(unet), expected)
            let squares = pairs.reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            return squares / expected.reduce(0) { $0 + Double($1 * $1) }
        }
        let errors = try [8, 4, 1].map(error)
        #expect(errors[0] < 1e-3)
        #expect(errors[0] < errors[1] && errors[1] < errors[2])
        #expect(errors[2] > 1e-2)
    }

    @Test("quantizing a student again keeps its latent weights")
    func again() throws {
        let unet = try TinyModel.unet()
        try unet.quantize(recipe: TinyModel.recipe(2), initialization: .paper)
        let before = unet.store.bits.filter { !$0.key.hasSuffix(".scale") }
        try unet.quantize(recipe: TinyModel.recipe(4), initialization: .paper)
        #expect(unet.store.bits.filter { !$0.key.hasSuffix(".scale") } == before)
        let layer = try #require(unet.store.layer(at: "mid_block.resnets.0.conv1"))
        #expect((layer.weight as? FakeQuantizedWeight)?.grid.bits == BitWidth(4))
    }

    @Test("quantizing a student again keeps the scales of layers with the same bits")
    func keepsScales() throws {
        let unet = try TinyModel.unet()
        try unet.quantize(recipe: TinyModel.recipe(2), initialization: .paper)
        let changed = "mid_block.resnets.0.conv1"
        for layer in unet.store.weightedLayers {
            guard let weight = layer.weight as? FakeQuantizedWeight else { continue }
            weight.scaleParameter.value = weight.scaleParameter.value * 1.25
        }
        let before = unet.store.bits
        var recipe = try TinyModel.recipe(2)
        recipe.layers[LayerID(changed)] = BitWidth(3)
        try unet.quantize(recipe: recipe, initialization: .paper)
        for (name, bits) in unet.store.bits where name.hasSuffix(".scale") {
            #expect((bits == before[name]) == !name.hasPrefix(changed), "\(name)")
        }
    }

    @Test("recipes with missing or unknown layers are refused, and the model is unchanged")
    func recipes() throws {
        let unet = try TinyModel.unet()
        var missing = try TinyModel.recipe(2)
        missing.layers["conv_in"] = nil
        #expect(throws: RecipeError.missingLayer(path: "conv_in")) {
            try unet.quantize(recipe: missing, initialization: .paper)
        }
        var foreign = try TinyModel.recipe(2)
        foreign.layers["nowhere"] = BitWidth(1)
        #expect(throws: RecipeError.unknownLayer(path: "nowhere")) {
            try unet.quantize(recipe: foreign, initialization: .paper)
        }
        var time = try TinyModel.recipe(2)
        time.layers["time_embedding.linear_1"] = BitWidth(8)
        #expect(throws: RecipeError.self) {
            try unet.quantize(recipe: time, initialization: .paper)
        }
        #expect(unet.store.weightedLayers.allSatisfy { $0.weight is Parameter })
    }

    @Test("all latent weights, biases and norms except those of time layers are trainable, and all scales")
    func trainable() throws {
        let unet = try TinyModel.unet()
        try unet.quantize(recipe: TinyModel.recipe(2), initialization: .paper)
        let (weights, scales) = unet.prepareForDistillation()
        #expect(Set(scales.map(\.name)) == Set(unet.quantizedLayers.map { $0.path + ".weight.scale" }))
        let all = Set(unet.store.entries.map(\.key))
        let time = all.filter { $0.hasPrefix("time_embedding.") || $0.contains(".time_emb_proj.") }
        #expect(Set(weights.map(\.name)) == all.subtracting(time))
        #expect(unet.store.parameters.filter { !$0.isTrainable }.count == time.count)
    }
}
