// SPDX-License-Identifier: Apache-2.0
// A packed file held against its student: equal where it is, and every kind of difference found and named.

import Foundation
import Layers
import QAT
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct PackedVerificationTests {
    private func student() throws -> DiffusionPipeline {
        let student = try TinyModel.pipeline(seed: 1)
        try student.denoiser.quantize(recipe: TinyModel.recipe(2), initialization: .paper)
        student.freeze()
        return student
    }

    private func packed(_ student: DiffusionPipeline) throws -> DiffusionPipeline {
        let folder = try TemporaryFolder(), path = folder.file("packed.h5")
        try student.writePacked(
            to: path, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: [1, 21, 41]))
        return try DiffusionPipeline(contentsOf: path)
    }

    @Test("a packed student is equal to it, and predicts nearly the same with its inputs rounded")
    func equal() throws {
        let student = try student()
        let model = try packed(student)
        let result = try PackedVerification(model, isPackedFrom: student, seed: 3)
        #expect(result.isEqual, "\(result.differences)")
        #expect(result.layers == student.denoiser.quantizedLayers.count)
        #expect(
            result.codes == student.denoiser.quantizedLayers.reduce(0) { $0 + $1.weight.shape.reduce(1, *) })
        #expect(result.timeFeatures > 0 && result.otherValues > 0)
        let outputs = Dictionary(uniqueKeysWithValues: result.outputs.map { ($0.activations, $0) })
        let (floats, integers) = (try #require(outputs["fp32"]), try #require(outputs["int8"]))
        #expect(floats.relativeRootMeanSquare < 1e-3)
        #expect(integers.relativeRootMeanSquare > floats.relativeRootMeanSquare)
        #expect(integers.relativeRootMeanSquare < 0.1)
        #expect(model.activations == .int8, "left as it was")
    }

    @Test("codes, scales and other parameters that differ are named")
    func differences() throws {
        let student = try student()
        let model = try packed(student)
        let layers = student.denoiser.quantizedLayers
        let weights = layers.compactMap { $0.weight as? FakeQuantizedWeight }
        weights[1].latent.value.withUnsafeMutableBufferPointer { $0[0] = $0[0] > 0 ? -100 : 100 }
        weights[2].scaleParameter.value = weights[2].scaleParameter.value * 1.5
        let bias = try #require(layers[3].bias)
        bias.value = bias.value + 1
        let places = try PackedVerification(model, isPackedFrom: student, seed: 3).differences.map(\.name)
        #expect(places.contains(layers[1].path))
        #expect(places.contains(layers[2].path))
        #expect(places.contains(layers[3].path + ".bias"))
        #expect(!places.contains(layers[0].path))
        #expect(throws: PipelineError.notQuantized) {
            try PackedVerification(model, isPackedFrom: TinyModel.pipeline(seed: 1), seed: 3)
        }
    }
}
