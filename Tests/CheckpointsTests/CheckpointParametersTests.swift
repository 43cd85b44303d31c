// SPDX-License-Identifier: Apache-2.0
// Checkpoints as parameters of models: each key once, in the right form, and nothing left over.

import Layers
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct CheckpointParametersTests {
    private func weight(_ parameters: CheckpointParameters, _ key: String, _ shape: [Int]) throws
        -> any WeightSource
    {
        try parameters.weight(key, shape: shape, initializer: .zeros)
    }

    @Test("matrices stay in 16 bits where that is asked for, small parameters are widened")
    func precision() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        try writer.write("a.weight", SampleCheckpoint.tensor([4, 3]), as: .float16)
        try writer.write("a.bias", SampleCheckpoint.tensor([4]), as: .float16)
        try writer.finish()
        let reader = try CheckpointReader(path)
        let halves = try CheckpointParameters(reader, precision: .keep16Bit)
        #expect(try weight(halves, "a.weight", [4, 3]) is Weight16)
        #expect(try weight(halves, "a.bias", [4]) is Parameter)
        let full = try CheckpointParameters(reader, precision: .float32)
        let dense = try #require(try weight(full, "a.weight", [4, 3]) as? Parameter)
        #expect(dense.name == "a.weight")
        #expect(try dense.value.values == reader.parameters.halfWeight("a.weight").tensor().values)
    }

    @Test("matrices are rounded to bfloat16 where that is asked for, and read as they are where stored so")
    func bfloat16() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        let values = SampleCheckpoint.tensor([4, 3])
        for type in ElementType.allCases { try writer.write("\(type).weight", values, as: type) }
        try writer.write("a.bias", SampleCheckpoint.tensor([4]))
        try writer.write("large.weight", Tensor([.greatestFiniteMagnitude, 1], shape: [1, 2]))
        try writer.finish()
        let parameters = try CheckpointParameters(CheckpointReader(path), precision: .bfloat16)
        let rounded = values.withUnsafeBufferPointer { Float16Bits.encode($0, .bfloat16) }
        for type in [ElementType.float32, .bfloat16] {
            let half = try #require(try weight(parameters, "\(type).weight", [4, 3]) as? Weight16)
            #expect(half.type == .bfloat16)
            #expect(half.bits == rounded)
        }
        let half = try #require(try weight(parameters, "float16.weight", [4, 3]) as? Weight16)
        #expect(half.type == .bfloat16)
        #expect(try weight(parameters, "a.bias", [4]) is Parameter)
        #expect(
            throws: CheckpointError.exceedsType(file: path, key: "large.weight", type: .bfloat16, index: 0)
        ) { try weight(parameters, "large.weight", [1, 2]) }
    }

    @Test("a missing key, a wrong shape and tensors left over are named")
    func faults() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        try SampleCheckpoint.writeModel(path)
        let parameters = try CheckpointParameters(CheckpointReader(path))
        #expect(throws: CheckpointError.missingKey(file: path, key: "conv_out.weight")) {
            try weight(parameters, "conv_out.weight", [1])
        }
        #expect(
            throws: CheckpointError.shapeMismatch(
                file: path, key: "conv_in.weight", expected: [4, 3, 3, 3], found: [4, 3, 1, 1])
        ) { try weight(parameters, "conv_in.weight", [4, 3, 3, 3]) }
        _ = try weight(parameters, "conv_in.bias", [4])
        #expect(
            throws: CheckpointError.unusedKeys(
                file: path,
                keys: ["down_blocks.0.resnets.0.conv1.weight", "down_blocks.0.resnets.0.conv2.weight"])
        ) { try parameters.checkAllUsed() }
        _ = try weight(parameters, "down_blocks.0.resnets.0.conv1.weight", [2, 4, 3, 3])
        _ = try weight(parameters, "down_blocks.0.resnets.0.conv2.weight", [2, 2, 3, 3])
        try parameters.checkAllUsed()
    }

    @Test("a student's quantized layer is its latent weight seen through the stored scales")
    func student() throws {
        let folder = try TemporaryFolder()
        try SampleCheckpoint.writeStudent(folder.file("a.h5"))
        let parameters = try CheckpointParameters(CheckpointReader(folder.file("a.h5")))
        let layer = try #require(try weight(parameters, "mid.to_q.weight", [4, 6]) as? FakeQuantizedWeight)
        #expect(layer.grid == QuantizationGrid(BitWidth(2)))
        #expect(layer.latent.name == "mid.to_q.weight")
        #expect(layer.latent.value.values == SampleCheckpoint.values(24, seed: 2))
        #expect(layer.scaleParameter.name == "mid.to_q.weight.scale")
        #expect(layer.scaleParameter.value.values == [0.5, 0.25, 1, 2])
        _ = try weight(parameters, "mid.to_q.bias", [4])
        try parameters.checkAllUsed()
    }

    @Test("a student's latent weights stay in Float32, whatever the others are held in")
    func latentPrecision() throws {
        let folder = try TemporaryFolder()
        try SampleCheckpoint.writeStudent(folder.file("a.h5"))
        let parameters = try CheckpointParameters(
            CheckpointReader(folder.file("a.h5")), precision: .bfloat16)
        let layer = try #require(try weight(parameters, "mid.to_q.weight", [4, 6]) as? FakeQuantizedWeight)
        #expect(layer.latent.value.values == SampleCheckpoint.values(24, seed: 2))
    }

    @Test("a packed layer holds its codes, decoded when it is asked for or before", arguments: [false, true])
    func packed(isDecodedBefore: Bool) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try SampleCheckpoint.writePacked(path)
        let reader = try CheckpointReader(path)
        let parameters = try CheckpointParameters(reader, shapes: isDecodedBefore ? ["mid.to_q": [4, 7]] : [:])
        let dense = try weight(parameters, "mid.to_q.weight", [4, 7])
        #expect(dense.tensor().values == (try reader.packedLayer("mid.to_q").dequantized().values))
        #expect(Set(dense.tensor().values).isSubset(of: [-4, -3, -2, -1, 0, 1, 2, 3, 4].map { $0 / 64 }))
        #expect(
            throws: CheckpointError.shapeMismatch(
                file: path, key: "mid.to_q.weight", expected: [7, 4], found: [4, 7])
        ) { try weight(parameters, "mid.to_q.weight", [7, 4]) }
        _ = try weight(parameters, "mid.to_q.bias", [4])
        #expect(throws: CheckpointError.unusedKeys(file: path, keys: ["conv_in.weight"])) {
            try parameters.checkAllUsed()
        }
        #expect(dense is PackedWeight)
    }

    @Test("a layer is built from a checkpoint by its path")
    func layer() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
        try writer.write("attn.to_q.weight", SampleCheckpoint.tensor([2, 3]))
        try writer.write("attn.to_q.bias", SampleCheckpoint.tensor([2]))
        try writer.finish()
        let provider = try CheckpointParameters(CheckpointReader(path))
        let store = ParameterStore(provider: provider)
        let linear = try Linear(ParameterPath(store) / "attn" / "to_q", in: 3, out: 2)
        try provider.checkAllUsed()
        #expect(linear.weight.tensor().values == SampleCheckpoint.values(6))
        #expect(linear.bias?.value.values == SampleCheckpoint.values(2))
    }
}
