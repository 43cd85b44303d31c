// SPDX-License-Identifier: Apache-2.0
// Checkpoints of models, students and packed models: what is written is what is read, and nothing is left behind.

import Files
import Foundation
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct CheckpointTests {
    @Test(
        "a model's header comes back byte for byte, its parameters bit for bit, under their diffusers keys"
    )
    func model() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        try SampleCheckpoint.writeModel(path)
        #expect(folder.names == ["model.h5"])
        let reader = try CheckpointReader(path)
        #expect(reader.format == .model)
        #expect(reader.header.config == SampleCheckpoint.config)
        #expect(reader.header.manifest == SampleCheckpoint.manifest)
        #expect(reader.header.scheduler == "{\"beta_start\": 0.00085}")
        #expect(reader.header.textConfig == "{\"width\": 8}")
        #expect(reader.header.tokenizer == "words")
        #expect(reader.header.architecture == SampleCheckpoint.architecture)
        #expect(reader.header.component == "unet")
        #expect(
            reader.parameters.keys == [
                "conv_in.bias", "conv_in.weight", "down_blocks.0.resnets.0.conv1.weight",
                "down_blocks.0.resnets.0.conv2.weight",
            ])
        #expect(reader.textEncoder?.keys == ["embeddings.weight"])
        let conv = "down_blocks.0.resnets.0.conv1.weight"
        #expect(reader.parameters.stored(conv) == StoredTensor(type: .float32, shape: [2, 4, 3, 3]))
        #expect(try reader.parameters.tensor(conv).values == SampleCheckpoint.values(72, seed: 4))
        #expect(reader.parameters.stored("conv_in.weight")?.type == .float16)
        #expect(reader.parameters.stored("down_blocks.0.resnets.0.conv2.weight")?.type == .bfloat16)
        #expect(try reader.trainingState() == nil)
        #expect(try reader.timeFeatures() == nil)
    }

    @Test("half precision is kept as its bits, and widens to the values that those stand for")
    func halves() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        let header = SampleCheckpoint.header(.model)
        for type in [ElementType.float16, .bfloat16] {
            let writer = try CheckpointWriter(path, header: header)
            let values = Tensor([1, -2, 0.5, 65504, 6.1035e-5, 0], shape: [2, 3])
            let bits = values.withUnsafeBufferPointer { Float16Bits.encode($0, type) }
            let half = Weight16(name: "w", bits: bits, shape: [2, 3], type: type)
            try writer.write("w", half)
            try writer.finish()
            let reader = try CheckpointReader(path)
            #expect(try reader.parameters.halfWeight("w").bits == bits)
            #expect(try reader.parameters.halfWeight("w").type == type)
            #expect(try reader.parameters.tensor("w").values == half.tensor().values)
        }
    }

    @Test("a student's scales, bits and training state come back")
    func student() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("student.h5")
        try SampleCheckpoint.writeStudent(path)
        let reader = try CheckpointReader(path)
        #expect(reader.quantizedLayers == ["mid.to_q"])
        let record = try reader.quantization(of: "mid.to_q")
        #expect(record.bits == BitWidth(2))
        #expect(record.scales.values == [0.5, 0.25, 1, 2])
        let state = try #require(try reader.trainingState())
        #expect(state.json == "{\"step\":7}")
        #expect(state.tensors.keys == ["values/mid.to_q.weight", "values/mid.to_q.weight.scale"])
        #expect(
            try state.tensors.tensor("values/mid.to_q.weight").values == SampleCheckpoint.values(24, seed: 4))
    }

    @Test("a student's dead zones come back")
    func deadZones() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("student.h5")
        for deadZone in [Float(0.5), 0.7] {
            let grid = QuantizationGrid(BitWidth(2)).withDeadZone(deadZone)
            let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.student))
            try writer.write("mid.to_q.weight", .ones([1, 6]))
            try writer.write(QuantizationRecord(path: "mid.to_q", grid: grid, scales: .ones([1])))
            try writer.finish()
            #expect(try CheckpointReader(path).quantization(of: "mid.to_q").grid == grid)
        }
    }

    @Test("a packed model's layers and time features come back", arguments: [ElementType.float32, .float16])
    func packed(_ scaleType: ElementType) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("packed.h5")
        try SampleCheckpoint.writePacked(path, scaleType: scaleType)
        let reader = try CheckpointReader(path)
        #expect(reader.packedLayers == ["conv_in", "mid.to_q"])
        #expect(
            try reader.packedLayer("mid.to_q")
                == SampleCheckpoint.packedLayer("mid.to_q", bits: 1, encoding: .radix, shape: [4, 7]))
        #expect(
            try reader.packedLayer("conv_in")
                == SampleCheckpoint.packedLayer("conv_in", bits: 8, encoding: .fixed, shape: [4, 3, 3, 3]))
        let features = try #require(try reader.timeFeatures())
        #expect(features.timesteps == [981, 1])
        #expect(features.features["down_blocks.0.resnets.0"]?.values == [0.5, 1, -2, 4])
    }

    @Test("the same content gives the same bytes", arguments: CheckpointFormat.models)
    func deterministic(_ format: CheckpointFormat) throws {
        let folder = try TemporaryFolder()
        for name in ["1", "2"] {
            switch format {
            case .student: try SampleCheckpoint.writeStudent(folder.file(name))
            case .packed: try SampleCheckpoint.writePacked(folder.file(name))
            default: try SampleCheckpoint.writeModel(folder.file(name))
            }
        }
        #expect(try folder.bytes("1") == folder.bytes("2"))
    }

    @Test("a writer that does not finish leaves the old file as it was and nothing beside it")
    func abandoned() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("model.h5", "old")
        do {
            let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
            try writer.write("a.weight", SampleCheckpoint.tensor([3]))
            #expect(folder.names.count == 2)
        }
        #expect(folder.names == ["model.h5"])
        #expect(try folder.bytes("model.h5") == Array("old".utf8))
    }

    @Test("an output that cannot be created says so")
    func cannotCreate() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("none/model.h5")
        #expect(throws: FileError.cannotCreate(path: path, code: ENOENT)) {
            try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        }
    }

    @Test(
        "keys that would not read back are refused",
        arguments: ["", "a..b", ".a", "a.", "a/b", "a.\0"])
    func invalidKeys(_ key: String) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        #expect(throws: CheckpointError.invalidKey(file: path, key: key)) {
            try writer.write(key, SampleCheckpoint.tensor([1]))
        }
    }

    @Test("a key written twice, or one that names a tensor and a group, is refused")
    func clashes() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        try writer.write("a.weight", SampleCheckpoint.tensor([1]))
        #expect(throws: CheckpointError.duplicateKey(file: path, key: "a.weight")) {
            try writer.write("a.weight", SampleCheckpoint.tensor([1]))
        }
        #expect(throws: CheckpointError.invalidKey(file: path, key: "a")) {
            try writer.write("a", SampleCheckpoint.tensor([1]))
        }
        #expect(throws: CheckpointError.invalidKey(file: path, key: "a.weight.scale")) {
            try writer.write("a.weight.scale", SampleCheckpoint.tensor([1]))
        }
    }

    @Test("a value that float16 cannot hold is refused, not stored as infinity")
    func exceedsType() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        let large = Tensor([1, 70000], shape: [2])
        #expect(throws: CheckpointError.exceedsType(file: path, key: "a", type: .float16, index: 1)) {
            try writer.write("a", large, as: .float16)
        }
        try writer.write("a", large, as: .bfloat16)
    }

    @Test("two readers of one file, used by many tasks at once, see the same values")
    func concurrentReads() async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        try SampleCheckpoint.writeModel(path)
        let first = try CheckpointReader(path)
        let second = try CheckpointReader(path)
        let key = "down_blocks.0.resnets.0.conv1.weight"
        let expected = SampleCheckpoint.values(72, seed: 4)
        try await withThrowingTaskGroup(of: [Float].self) { group in
            for index in 0..<64 {
                group.addTask { try (index % 2 == 0 ? first : second).parameters.tensor(key).values }
            }
            for try await values in group { #expect(values == expected) }
        }
    }
}
