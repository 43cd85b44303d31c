// SPDX-License-Identifier: Apache-2.0
// UNets as GGUF files: names, types, shapes, and weights bit for bit.

import Checkpoints
import Foundation
import Networks
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct GGUFExportTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Rows of 32 to 1,728 weights, some of them multiples of 256.
    private func config() throws -> UNet2DConditionConfig {
        let json = """
            {"sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [64, 128],
             "layers_per_block": 1, "attention_head_dim": 4, "cross_attention_dim": 32, "norm_num_groups": 8,
             "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
             "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
            """
        return try UNet2DConditionConfig(json: Data(json.utf8))
    }

    /// model.h5 and packed.h5: 1 to 8 bits in turn, with cached time features. Rows that are multiples of 256 have the
    /// bits of the three types with blocks of this size.
    private func packed(scales: ElementType) throws -> (packed: CheckpointReader, model: CheckpointReader) {
        let pipeline = try TinyModel.pipeline(config())
        try pipeline.writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        let layers = try pipeline.layerInventory().quantizedLayers
        var bits: [LayerID: BitWidth] = [:]
        for isLong in [false, true] {
            let members = layers.filter { $0.weights / $0.outputChannels % 256 == 0 ? isLong : !isLong }
            for (index, layer) in members.enumerated() {
                bits[layer.path] = BitWidth(isLong ? [1, 2, 5][index % 3] : 1 + index % 8)
            }
        }
        var options = PackingOptions(cachedTimesteps: [1, 501])
        options.scaleType = scales
        try pipeline.writePacked(
            to: folder.file("packed.h5"), manifest: TinyModel.manifest, options: options,
            quantization: PostTrainingQuantization(recipe: BitRecipe(layers: bits), initialization: .minMax))
        return (try CheckpointReader(folder.file("packed.h5")), try CheckpointReader(folder.file("model.h5")))
    }

    /// The weights of the diffusers folder that `export` writes of the same file, by diffusers' names.
    private func dense(_ packed: CheckpointReader, _ model: CheckpointReader) throws -> [String: [Float]] {
        try DiffusersExport(packed).write(
            to: DiffusersFolderWriter(folder.file("dense")), as: .float32, original: model)
        let file = try SafetensorsReader(folder.file("dense/diffusion_pytorch_model.safetensors"))
        return try Dictionary(uniqueKeysWithValues: file.keys.map { ($0, try file.tensor($0).values) })
    }

    @Test("the file has all weights of the UNet bit for bit, for both loaders", arguments: GGUFExport.Loader.allCases)
    func weights(loader: GGUFExport.Loader) throws {
        let (packed, model) = try packed(scales: .float16)
        let export = try GGUFExport(packed, for: loader)
        #expect(export.model.missingParts == [.timeLayers])
        var steps: [Int] = []
        let summary = try export.write(to: folder.file("unet.gguf"), original: model) { done, _ in steps.append(done) }
        let file = try GGUFFile(folder.file("unet.gguf"))
        let expected = try dense(packed, model)
        #expect(file.tensors.count == expected.count && steps == Array(1...expected.count))
        #expect(summary.bytes == fileSize(folder.file("unet.gguf")))
        #expect(summary.roundedScales == 0 && summary.largestChange == 0)

        let names = LDMUNetNames(layersPerBlock: 1)
        var types: Set<UInt32> = []
        for (key, values) in expected {
            let name = loader == .diffusers ? key : try #require(names.original(key) { $0 == 1 })
            let found = try #require(file.tensors[name], "\(name)")
            types.insert(found.type)
            // Layers of 8 nominal bits, or with short rows, are rounded to float16.
            let isExact = found.type != 1
            let difference = zip(found.values, values).map { abs($0 - $1) }.max() ?? 0
            #expect(found.values.count == values.count)
            #expect(isExact ? found.values == values : difference < 1e-3, "\(name), type \(found.type)")
            let shape = try #require(model.parameters.stored(key)).shape
            let original = file.numbers["comfy.gguf.orig_shape.\(name)"]
            if shape.count == 4, found.type > 1 {
                #expect(loader == .comfyUI && original == shape && found.shape.count == 2, "\(name)")
            } else {
                #expect(original == nil && found.shape == shape, "\(name)")
            }
            if shape.count == 1 { #expect(found.type == 0, "\(name)") }
        }
        #expect(types.isSuperset(of: loader == .comfyUI ? [0, 1, 2, 6, 8, 10, 11, 14] : [0, 1, 2, 6, 8]))
        #expect(file.strings["general.architecture"] == "sd1")
        let total = summary.types.reduce(0) { $0 + $1.weights }
        #expect(total == expected.values.reduce(0) { $0 + $1.count })
        #expect(summary.types.reduce(0) { $0 + $1.tensors } == expected.count)
    }

    @Test("scales that float16 does not hold are rounded, and counted")
    func roundedScales() throws {
        let (packed, model) = try packed(scales: .float32)
        let summary = try GGUFExport(packed).write(to: folder.file("unet.gguf"), original: model)
        #expect(summary.roundedScales > 100 && summary.largestChange > 1e-5 && summary.largestChange <= 0x1p-11)
        let file = try GGUFFile(folder.file("unet.gguf"))
        for (key, values) in try dense(packed, model) {
            let name = try #require(LDMUNetNames(layersPerBlock: 1).original(key) { $0 == 1 })
            let found = try #require(file.tensors[name]).values
            #expect(zip(found, values).allSatisfy { abs($0 - $1) <= 1.001 * 0x1p-11 * abs($1) + 1e-7 }, "\(name)")
        }
    }

    @Test("the package gguf reads every tensor as the weight", .enabled(if: Python.has("gguf", "safetensors")))
    func pythonPackage() throws {
        let (packed, model) = try packed(scales: .float16)
        _ = try GGUFExport(packed, for: .diffusers).write(to: folder.file("unet.gguf"), original: model)
        _ = try dense(packed, model)
        let program = """
            import sys, gguf, numpy
            from safetensors.numpy import load_file
            dense = load_file(sys.argv[2])
            tensors = gguf.GGUFReader(sys.argv[1]).tensors
            assert {t.name for t in tensors} == dense.keys()
            for t in tensors:
                found = gguf.dequantize(t.data, t.tensor_type).reshape(-1)
                exact = t.tensor_type != gguf.GGMLQuantizationType.F16
                assert numpy.allclose(found, dense[t.name].reshape(-1), rtol=0, atol=0 if exact else 1e-3), t.name
            print(len(tensors))
            """
        let printed = try Python.run(
            program, folder.file("unet.gguf"), folder.file("dense/diffusion_pytorch_model.safetensors"))
        #expect(Int(printed.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0 > 100)
    }

    @Test("SDXL's UNet is named sdxl")
    func sdxl() throws {
        try TinyModel.pipeline(TinyModel.addedConfig()).writeModel(
            to: folder.file("xl.h5"), manifest: TinyModel.manifest)
        _ = try GGUFExport(CheckpointReader(folder.file("xl.h5"))).write(to: folder.file("xl.gguf"))
        let file = try GGUFFile(folder.file("xl.gguf"))
        #expect(file.strings["general.architecture"] == "sdxl" && file.tensors["label_emb.0.0.weight"] != nil)
    }
}

/// The size of a file.
private func fileSize(_ path: String) -> Int {
    ((try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? Int) ?? -1
}
