// SPDX-License-Identifier: Apache-2.0
// The bound of a packed file's structure against files with the names and ranks of real architectures, whose tensors
// have one element each: structure depends on nothing else.

import Foundation
import Layers
import Networks
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Checkpoints
@testable import Pipelines

@Suite struct PackedFileSizeTests {
    private static let configs = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Configs")

    /// The packed size of Stable Diffusion 1.5 by the published recipe.
    private static let sd15Bytes = 219_000_000

    @Test(
        "the structure of a packed Stable Diffusion is bounded within 0.1 % of the file's size", .slow,
        arguments: ["unet-sd15", "unet-shapes"], [true, false])
    func architectures(_ name: String, cachesFeatures: Bool) throws {
        let config = try UNet2DConditionConfig(
            json: Data(contentsOf: Self.configs.appendingPathComponent(name + ".json")))
        let unet = try config.skeleton()
        let pipeline = try DiffusionPipeline(denoiser: unet, textEncoder: nil, schedulerJSON: nil)
        let manifest = RunManifest(toolVersion: "1", commandLine: ["bitsfusion", "pack"], seed: nil, inputs: [])
        let header = try pipeline.header(.packed, manifest)
        let folder = try TemporaryFolder()
        let writer = try CheckpointWriter(folder.file("a.h5"), header: header)
        var overhead = CheckpointOverhead(header: header)
        var elements = 0
        let quantizedKeys = Set(unet.quantizedLayers.map { $0.path + ".weight" })
        for entry in pipeline.packedEntries(of: pipeline.components[0], dropsTimeLayers: cachesFeatures)
        where !quantizedKeys.contains(entry.key) {
            let shape = [Int](repeating: 1, count: entry.source.shape.count)
            try writer.write(entry.key, Tensor([1], shape: shape))
            overhead.addTensor(entry.key, rank: shape.count)
            elements += 4
        }
        for layer in unet.quantizedLayers {
            let shape = [Int](repeating: 1, count: layer.weight.shape.count)
            let record = try PackedLayerRecord(
                path: layer.path, grid: QuantizationGrid(BitWidth(1)), encoding: .radix, shape: shape, codes: [1],
                scales: [1])
            try writer.write(record)
            overhead.addPackedLayer(layer.path, rank: shape.count)
            elements += 5
        }
        if cachesFeatures {
            let paths = unet.timeFeatureChannels.map(\.path)
            let tables = paths.map { ($0, Tensor([1], shape: [1, 1])) }
            try writer.write(
                TimeFeatureRecord(timesteps: [1], features: Dictionary(uniqueKeysWithValues: tables)))
            overhead.addTimeFeatures(paths)
            elements += 8 + 2 * paths.count
        }
        try writer.finish()
        let structure = try folder.bytes("a.h5").count - elements
        let excess = overhead.bytes - structure
        #expect(excess >= CheckpointOverhead.manifestBytes - header.manifest.utf8.count)
        #expect(excess * 1000 <= Self.sd15Bytes, "\(excess) of \(structure) bytes")
    }
}
