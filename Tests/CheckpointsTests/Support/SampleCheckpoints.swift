// SPDX-License-Identifier: Apache-2.0
// Small checkpoints of every kind, the same on each run.

import Networks
import Packing
import Quantization
import Recipes
import Tensors
import TestKit

@testable import Checkpoints

/// Writers of sample files.
enum SampleCheckpoint {
    static let config = "{\n  \"_class_name\": \"UNet2DConditionModel\",\n  \"in_channels\": 4\n}\n"
    static let architecture = "UNet2DConditionModel"
    static let manifest = "{\"toolVersion\":\"0.1.0\"}"

    static func header(_ format: CheckpointFormat) -> CheckpointHeader {
        CheckpointHeader(
            format: format, architecture: architecture, config: config, manifest: manifest)
    }

    /// `count` floats in -1..<1.
    static func values(_ count: Int, seed: UInt64 = 1) -> [Float] {
        var random = SplitMix(seed: seed)
        return (0..<count).map { _ in Float.random(in: -1..<1, using: &random) }
    }

    static func tensor(_ shape: [Int], seed: UInt64 = 1) -> Tensor {
        Tensor(values(shape.reduce(1, *), seed: seed), shape: shape)
    }

    /// A packed layer of random codes, with a first scale that float16 holds exactly.
    static func packedLayer(
        _ path: String, bits: Int, encoding: PackingEncoding, shape: [Int], seed: UInt64 = 1, fitsInByte: Bool = false
    ) throws -> PackedLayerRecord {
        var random = SplitMix(seed: seed)
        let grid = fitsInByte ? QuantizationGrid(fittingInByte: BitWidth(bits)) : QuantizationGrid(BitWidth(bits))
        let stored = (0..<shape.reduce(1, *)).map { _ in
            UInt16.random(in: 0..<UInt16(grid.levels), using: &random)
        }
        return try PackedLayerRecord(
            path: path, grid: grid, encoding: encoding, shape: shape,
            codes: packCodes(stored, levels: grid.levels, encoding: encoding),
            scales: (0..<shape[0]).map { Float($0 + 1) / 64 })
    }

    static func writeModel(_ path: String) throws {
        let header = CheckpointHeader(
            format: .model, architecture: architecture, config: config, manifest: manifest,
            scheduler: "{\"beta_start\": 0.00085}", textConfig: "{\"width\": 8}", tokenizer: "words")
        let writer = try CheckpointWriter(path, header: header)
        try writer.write("conv_in.weight", tensor([4, 3, 1, 1], seed: 2), as: .float16)
        try writer.write("conv_in.bias", tensor([4], seed: 3))
        try writer.write("down_blocks.0.resnets.0.conv1.weight", tensor([2, 4, 3, 3], seed: 4))
        try writer.write(
            "down_blocks.0.resnets.0.conv2.weight", tensor([2, 2, 3, 3], seed: 5), as: .bfloat16)
        try writer.write("embeddings.weight", in: .textEncoder, tensor([5, 8], seed: 6))
        try writer.finish()
    }

    static func writeStudent(_ path: String) throws {
        let writer = try CheckpointWriter(path, header: header(.student))
        try writer.write("mid.to_q.weight", tensor([4, 6], seed: 2))
        try writer.write("mid.to_q.bias", tensor([4], seed: 3))
        try writer.write(
            QuantizationRecord(
                path: "mid.to_q", grid: QuantizationGrid(BitWidth(2)), scales: Tensor([0.5, 0.25, 1, 2], shape: [4])))
        try writer.writeTrainingState(json: "{\"step\":7}")
        try writer.write("values/mid.to_q.weight", in: .training, tensor([4, 6], seed: 4))
        try writer.write("values/mid.to_q.weight.scale", in: .training, tensor([4], seed: 5))
        try writer.finish()
    }

    static func writePacked(_ path: String, scaleType: ElementType = .float32) throws {
        let writer = try CheckpointWriter(path, header: header(.packed))
        try writer.write("mid.to_q.bias", tensor([4], seed: 3))
        let layers = [
            try packedLayer("mid.to_q", bits: 1, encoding: .radix, shape: [4, 7]),
            try packedLayer("conv_in", bits: 8, encoding: .fixed, shape: [4, 3, 3, 3]),
        ]
        for layer in layers { try writer.write(layer, scaleType: scaleType) }
        try writer.write(
            TimeFeatureRecord(
                timesteps: [981, 1],
                features: ["down_blocks.0.resnets.0": Tensor([0.5, 1, -2, 4], shape: [2, 2])]))
        try writer.finish()
    }
}
