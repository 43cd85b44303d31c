// SPDX-License-Identifier: Apache-2.0
// LoRAs beside weights against LoRAs merged into weights.

import Checkpoints
import Foundation
import Layers
import Networks
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct LoRABranchTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// The components that LoRAs are for, by name.
    private func stores(_ pipeline: DiffusionPipeline) -> [String: ParameterStore] {
        var stores = ["unet": pipeline.denoiser.store]
        for encoder in pipeline.textEncoders { stores[encoder.name] = encoder.store }
        return stores
    }

    /// Writes a LoRA of PEFT's names for attention, feed-forward layers, convolutions and samplers.
    private func lora(_ name: String, rank: Int, for pipeline: DiffusionPipeline) throws -> String {
        let parts = ["to_q", "to_out.0", "q_proj", "fc1", "net.2", "conv1", "samplers.0.conv", "proj_in"]
        var random = Philox(seed: UInt64(rank))
        var tensors: [String: Tensor] = [:]
        for (component, store) in stores(pipeline) {
            for layer in store.weightedLayers where parts.contains(where: { layer.path.hasSuffix($0) }) {
                let shape = layer.weight.shape
                let key = "\(component).\(layer.path)"
                tensors[key + ".lora_A.weight"] = random.normal([rank] + shape[1...]) * 0.1
                let upShape = [shape[0], rank] + shape.dropFirst(2).map { _ in 1 }
                tensors[key + ".lora_B.weight"] = random.normal(upShape) * 0.3
            }
        }
        #expect(tensors.count > 20)
        return try folder.writeTensors(name, tensors)
    }

    private func attach(_ loras: [LoRA], to pipeline: DiffusionPipeline) throws {
        let branches = try LoRABranches(loras, components: stores(pipeline))
        for (name, store) in stores(pipeline) { try branches.attach(to: store, of: name) }
    }

    /// The conditions of a prompt, and the prediction for them.
    private func outputs(_ pipeline: DiffusionPipeline) throws -> [Tensor] {
        let conditions = try PromptEncoder(pipeline).embeddings(["a red horse"])
        let config = pipeline.denoiser.config
        var random = Philox(seed: 5)
        let sample = random.normal(config.sampleShape(batch: 1))
        let prediction = withoutGradients {
            pipeline.denoiser(
                sample, timesteps: .full([1], 501), encoderHiddenStates: conditions.conditional,
                addedConditions: conditions.added?.conditional, features: nil)
        }
        return [conditions.conditional, prediction]
    }

    /// The file `model` with LoRAs merged into its dense weights.
    private func merged(_ model: String, _ loras: [LoRA]) throws -> DiffusionPipeline {
        try DiffusersExport(CheckpointReader(model)).write(
            to: DiffusersFolderWriter(folder.file("dense")), as: .float32)
        let path = folder.file("merged.h5")
        try PipelineSource(folder.file("dense")).merging(loras).writeModel(to: path, manifest: TinyModel.manifest)
        return try DiffusionPipeline(contentsOf: path)
    }

    @Test(
        "branches of dense and packed layers compute what merged weights do", arguments: ["sd1", "sdxl"], [false, true])
    func equalToMerging(kind: String, isPacked: Bool) throws {
        var path = try ReferencePipelines.imported(kind, in: folder)
        if isPacked {
            let dense = try DiffusionPipeline(contentsOf: path)
            let inventory = try dense.layerInventory()
            let recipe = BitRecipe.uniform(BitWidth(3), over: inventory)
                .quantizingComponents(BitWidth(8), of: inventory)
            path = folder.file("packed.h5")
            try dense.writePacked(
                to: path, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: nil),
                quantization: PostTrainingQuantization(recipe: recipe, initialization: .minMax))
        }
        let pipeline = try DiffusionPipeline(contentsOf: path)
        pipeline.activations = .float32
        let loras = [
            try LoRA(lora("a.safetensors", rank: 2, for: pipeline), weight: 0.75),
            try LoRA(lora("b.safetensors", rank: 3, for: pipeline), weight: -0.5),
        ]
        let without = try outputs(pipeline)
        try attach(loras, to: pipeline)
        let found = try outputs(pipeline)
        for (index, expected) in try outputs(merged(path, loras)).enumerated() {
            expectClose(found[index], expected, .output, "output \(index)")
            let change = zip(found[index].values, without[index].values).map { abs($0 - $1) }.max() ?? 0
            #expect(change > 0.01, "output \(index)")
        }
        try attach([], to: pipeline)
        for (found, expected) in zip(try outputs(pipeline), without) { #expect(found.values == expected.values) }
    }

    @Test("with int8 activations, the branch adds the same as with float activations")
    func integerActivations() throws {
        var random = Philox(seed: 3)
        let weight = random.normal([32, 64]) * 0.2
        let layer = try Linear(ParameterPath(ParameterStore(provider: FixtureParameterProvider())), in: 64, out: 32)
        let student = FakeQuantizedWeight(
            latent: Parameter("weight", weight, isTrainable: false), bits: BitWidth(4), initialization: .paper)
        layer.weight = try PackedWeight(
            shape: student.shape, grid: student.grid, encoding: .radix,
            codes: packCodes(student.codes, levels: student.grid.levels, encoding: .radix), scales: student.scales)
        #expect(layer.weight.integer != nil)
        let branch = LowRankBranch(down: random.normal([4, 64]), up: random.normal([32, 4]))
        let x = random.normal([10, 64])
        let plain = withoutGradients { layer(x) }
        layer.branch = branch
        let ranks = matmul(x, branch.down, transposeB: true)
        let expected = matmul(ranks, branch.up, transposeB: true)
        expectClose(withoutGradients { layer(x) } - plain, expected, .output)
    }

    @Test("layers that the model lacks, wrong shapes and cached time layers are refused by name")
    func refused() throws {
        let path = try ReferencePipelines.imported("sd1", in: folder)
        let pipeline = try DiffusionPipeline(contentsOf: path)
        func file(_ layer: String, _ shape: [Int]) throws -> LoRA {
            let tensors = [
                layer + ".lora_A.weight": Tensor.zeros([2, shape[1]]), layer + ".lora_B.weight": .zeros([shape[0], 2]),
            ]
            return try LoRA(try folder.writeTensors("bad.safetensors", tensors))
        }
        let time = try #require(pipeline.denoiser.store.layer(at: "time_embedding.linear_1"))
        for (layer, shape) in [("unet.no_such_layer", [4, 4]), ("unet.time_embedding.linear_1", [3, 3])] {
            #expect(throws: LoRAError.self) { try attach([file(layer, shape)], to: pipeline) }
        }
        let branches = try LoRABranches(
            [file("unet.time_embedding.linear_1", time.weight.shape)], components: stores(pipeline))
        let packed = folder.file("packed.h5")
        try pipeline.writePacked(
            to: packed, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: [1, 501]),
            quantization: PostTrainingQuantization(
                recipe: .uniform(BitWidth(3), over: pipeline.layerInventory()), initialization: .minMax))
        let cached = try DiffusionPipeline(contentsOf: packed)
        #expect(
            throws: LoRAError.cachedLayer(file: folder.file("bad.safetensors"), layer: "time_embedding.linear_1")
        ) { try branches.attach(to: cached.denoiser.store, of: "unet") }
    }
}
