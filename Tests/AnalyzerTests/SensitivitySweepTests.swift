// SPDX-License-Identifier: Apache-2.0
// The sweep over a tiny random model: one layer at a time, everything restored, numbers that mean something.

import BitAllocator
import Foundation
import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Analyzer

@Suite struct SensitivitySweepTests {
    @Test(
        "while a candidate is measured one layer is on its grid, all others are untouched; afterwards all are"
    )
    func restoresWeights() throws {
        let pipeline = try TinyModel.pipeline()
        let layers = pipeline.denoiser.store.weightedLayers
        let originals = layers.map(\.weight)
        let values = originals.map { $0.tensor().values }
        let sweep = try tinySweep(pipeline, bits: [1])
        var replaced: Set<String> = []
        let table = try sweep.run(shouldStop: {
            let changed = layers.indices.filter { layers[$0].weight !== originals[$0] }
            #expect(changed.count <= 1)
            for index in changed {
                replaced.insert(layers[index].path)
                let weight = layers[index].weight.tensor()
                let isEnd = UNetLayerPolicy().role(ofLayer: layers[index].path) == .firstOrLast
                #expect(largestLevelCount(weight) <= (isEnd ? 257 : 3), "\(layers[index].path)")
                #expect(weight.values != values[index])
            }
            return false
        })
        #expect(table != nil)
        #expect(replaced == Set(pipeline.denoiser.quantizedLayers.map(\.path)))
        for (index, layer) in layers.enumerated() {
            #expect(layer.weight === originals[index])
            #expect(layer.weight.tensor().values == values[index])
        }
    }

    @Test("more bits leave smaller errors in most layers, and PSNR is the error in decibels", .slow) func moreBits()
        throws
    {
        let table = try #require(try tinySweep(TinyModel.pipeline()).run())
        let free = table.layers.filter { $0.role == .searched }
        let errors = free.map { layer in (1...3).compactMap { layer.bits[BitWidth($0)]?.mse } }
        #expect(errors.allSatisfy { $0.count == 3 })
        let falling = errors.count { $0[0] > $0[1] && $0[1] > $0[2] }
        #expect(Double(falling) > 0.7 * Double(free.count), "\(falling) of \(free.count)")
        for measure in table.layers.flatMap(\.bits.values) {
            let (psnr, mse) = (try #require(measure.psnr), try #require(measure.mse))
            #expect(abs(psnr + 10 * log10(mse)) < 1e-9)
            #expect(mse > 0 && mse <= 1)
            #expect(measure.clipDrop == nil)
        }
    }

    @Test(
        "the table pins model, inventory, protocol and run, lists 8-bit layers at 8 bits, and can be allocated from",
        .slow
    )
    func table() throws {
        let pipeline = try TinyModel.pipeline()
        let sweep = try tinySweep(pipeline, clip: tinyClip())
        let table = try #require(try sweep.run())
        #expect(table.model?.path == "tiny.h5")
        let inventory = try pipeline.inventory()
        #expect(table.inventory == inventory)
        #expect(table.manifest?.commandLine == ["test"])
        let generation = try #require(table.generation)
        #expect(generation.prompts.count == 3 && Set(generation.seeds).count == 3)
        #expect(generation.sampler == "ddim" && generation.steps == 2 && generation.guidanceScale == 1.5)
        #expect(table.layers.map(\.path) == table.inventory?.quantizedLayers.map(\.path))
        for layer in table.layers {
            let isEnd = layer.path == "conv_in" || layer.path == "conv_out"
            #expect(layer.bits.keys.map(\.rawValue).sorted() == (isEnd ? [8] : [1, 2, 3]))
            #expect(layer.bits.values.allSatisfy { $0.clipDrop != nil && ($0.perceptual ?? -1) >= 0 })
            let weight = try #require(pipeline.denoiser.store.layer(at: layer.path.rawValue)).weight.tensor()
            #expect(layer.skewness == skewness(of: weight) && layer.weights == weight.count)
        }
        let pairs = Set(table.correlations.map { "\($0.x) \($0.y)" })
        #expect(
            pairs.isSuperset(of: [
                "mse@1 psnr@1", "mse@2 clipDrop@2", "mse@3 perceptual@3", "mse@1 mse@2", "mse@2 mse@3",
            ]))
        let recipe = try allocateBits(table, budget: BitBudget(averageBits: 4)).recipe
        try recipe.validate(against: inventory)
    }

    @Test("a pattern restricts the sweep to the layers whose path it matches") func pattern() throws {
        let sweep = try tinySweep(TinyModel.pipeline(), bits: [2], layers: #"attn[12]\.to_[kv]$"#)
        let table = try #require(try sweep.run())
        #expect(table.layers.count == sweep.candidates.count && table.layers.count == 16)
        #expect(
            table.layers.allSatisfy {
                $0.path.rawValue.hasSuffix("to_k") || $0.path.rawValue.hasSuffix("to_v")
            })
        #expect(throws: SensitivityError.noLayers(pattern: "nowhere")) {
            try tinySweep(TinyModel.pipeline(), layers: "nowhere")
        }
        #expect(throws: SensitivityError.pattern("(")) { try tinySweep(TinyModel.pipeline(), layers: "(") }
    }

    @Test("a model that is quantized already is refused, naming the layer") func quantized() throws {
        let pipeline = try TinyModel.pipeline()
        let layer = try #require(pipeline.denoiser.store.layer(at: "conv_in"))
        let latent = try #require(layer.weight as? Parameter)
        layer.weight = FakeQuantizedWeight(latent: latent, bits: BitWidth(3), initialization: .paper)
        #expect(throws: SensitivityError.alreadyQuantized(path: "conv_in", bits: BitWidth(3))) {
            try tinySweep(pipeline)
        }
    }

    @Test("a model whose own images are not finite is refused, and nothing is measured") func brokenModel()
        throws
    {
        let pipeline = try TinyModel.pipeline()
        let bias = try #require(pipeline.denoiser.store.layer(at: "conv_out")?.bias)
        bias.value = .full(bias.shape, .nan)
        #expect(throws: SensitivityError.referenceNotFinite) { try tinySweep(pipeline).run() }
    }

    @Test("impossible numbers of steps and images are refused before anything is made") func requests()
        throws
    {
        #expect(throws: SamplerError.steps(requested: 0, maximum: 1000)) {
            try tinySweep(TinyModel.pipeline(), steps: 0)
        }
        #expect(throws: SensitivityError.images(requested: 0, available: nil)) {
            try tinySweep(TinyModel.pipeline(), prompts: 0)
        }
    }

    @Test("progress counts from the start to the total, with a rate as soon as there is one") func progress()
        throws
    {
        let sweep = try tinySweep(TinyModel.pipeline(), bits: [1], layers: "^conv_in$|to_q$")
        var reports: [SensitivityProgress] = []
        _ = try sweep.run(progress: { reports.append($0) })
        #expect(reports.map(\.done) == Array(0...sweep.candidates.count))
        #expect(reports.allSatisfy { $0.total == sweep.candidates.count })
        #expect(reports.dropFirst().map(\.latest) == sweep.candidates)
        #expect(reports[0].secondsPerCandidate == nil)
        #expect(reports.dropFirst().allSatisfy { ($0.secondsPerCandidate ?? 0) > 0 })
        #expect(reports.last?.secondsLeft == 0)
    }

    @Test("prompts go through the six families in turn, and fewer prompts are the beginning of more")
    func prompts()
        throws
    {
        let pipeline = try TinyModel.pipeline()
        let few = try CalibrationSet(promptCount: 6, pipeline: pipeline)
        let more = try CalibrationSet(promptCount: 14, pipeline: pipeline)
        #expect(Array(more.prompts.prefix(6)) == few.prompts && Array(more.seeds.prefix(6)) == few.seeds)
        #expect(Set(more.seeds).count == 14)
        #expect(try CalibrationSet(promptCount: 6, seed: 9, pipeline: pipeline).prompts != few.prompts)
    }
}

/// The largest number of different values in one output channel of `weight`.
private func largestLevelCount(_ weight: Tensor) -> Int {
    let width = weight.count / weight.shape[0]
    let values = weight.values
    return (0..<weight.shape[0]).map { Set(values[$0 * width..<($0 + 1) * width]).count }.max() ?? 0
}
