// SPDX-License-Identifier: Apache-2.0
// Models, students and packed models through files: what is read is what was written, and makes the same images.

import Checkpoints
import Files
import Foundation
import Layers
import Networks
import Packing
import QAT
import Quantization
import Recipes
import Schedulers
import ShapesWorld
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct PipelineFileTests {
    private static let steps = 6
    private let options = GenerationOptions(sampler: .pndm, steps: steps, guidanceScale: 2)

    private func student(_ bits: Int = 2) throws -> DiffusionPipeline {
        let student = try TinyModel.pipeline()
        try student.denoiser.quantize(recipe: TinyModel.recipe(bits), initialization: .paper)
        return student
    }

    private func images(_ pipeline: DiffusionPipeline, steps: Int = steps) throws -> Tensor {
        var options = options
        options.steps = steps
        return try pipeline.generate(
            PromptEmbeddings(prompts: ["a red circle", "a blue square"], pipeline: pipeline), seeds: [3, 4],
            options: options)
    }

    /// Writes with `write`, and reads what it wrote.
    private func written(_ write: (String) throws -> Void) throws -> DiffusionPipeline {
        let folder = try TemporaryFolder(), path = folder.file("model.h5")
        try write(path)
        return try DiffusionPipeline(contentsOf: path)
    }

    @Test("a model comes back bit for bit, with its text encoder, config and scheduler")
    func model() throws {
        // Python's notation of an infinite number, as in the configs of diffusers' DPM-Solver.
        let json = """
            {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "clip_sample": false,
            "lambda_min_clipped": -Infinity}
            """
        let pipeline = try TinyModel.pipeline(schedulerJSON: json)
        let read = try written { try pipeline.writeModel(to: $0, manifest: TinyModel.manifest) }
        #expect(read.seenBits == pipeline.seenBits)
        #expect(read.denoiser.config.isEqual(to: pipeline.denoiser.config))
        #expect(read.textEncoder?.config == pipeline.textEncoder?.config)
        #expect(read.schedulerJSON == json)
        #expect(try read.noiseSchedule() == pipeline.noiseSchedule())
        #expect(try read.noiseSchedule().betaEnd == 0.02)
        #expect(read.recipe == nil)
        #expect(try images(read).values == images(pipeline).values)
    }

    @Test("a model without a text encoder stays without one")
    func withoutText() throws {
        let pipeline = try TinyModel.pipeline(hasText: false)
        let read = try written { try pipeline.writeModel(to: $0, manifest: TinyModel.manifest) }
        #expect(read.textEncoder == nil)
        #expect(read.schedulerJSON == nil)
        #expect(read.seenBits == pipeline.seenBits)
    }

    @Test("16 bits round every weight once, and reading and writing again changes nothing")
    func half() throws {
        let pipeline = try TinyModel.pipeline()
        let folder = try TemporaryFolder(), path = folder.file("half.h5"), again = folder.file("again.h5")
        try pipeline.writeModel(to: path, manifest: TinyModel.manifest, as: .float16)
        let wide = try DiffusionPipeline(contentsOf: path)
        let narrow = try DiffusionPipeline(contentsOf: path, precision: .keep16Bit)
        #expect(wide.seenBits == narrow.seenBits)
        for (read, written) in zip(wide.denoiser.store.parameters, pipeline.denoiser.store.parameters) {
            // Half a step of 11 significant bits, or of the smallest subnormal.
            expectClose(read.value, written.value, atol: 0x1p-25, rtol: 0x1p-11, read.name)
        }
        #expect(wide.seenBits != pipeline.seenBits)
        try narrow.writeModel(to: again, manifest: TinyModel.manifest)
        #expect(try DiffusionPipeline(contentsOf: again).seenBits == wide.seenBits)
    }

    @Test("a student comes back with latent weights, scales and bits unchanged", arguments: [1, 2, 8])
    func studentFile(bits: Int) throws {
        let pipeline = try student(bits)
        let read = try written { try pipeline.writeStudent(to: $0, manifest: TinyModel.manifest) }
        #expect(read.denoiser.store.bits == pipeline.denoiser.store.bits)
        #expect(read.seenBits == pipeline.seenBits)
        #expect(read.recipe?.layers == (try TinyModel.recipe(bits)).layers)
        #expect(try images(read).values == images(pipeline).values)
    }

    @Test("a student written as a model is dense, and computes the same")
    func denseStudent() throws {
        let pipeline = try student()
        let dense = try written { try pipeline.writeModel(to: $0, manifest: TinyModel.manifest) }
        #expect(dense.recipe == nil)
        #expect(dense.seenBits == pipeline.seenBits)
    }

    @Test(
        "a packed student with its time layers computes the same, bit for bit", .slow,
        arguments: PackingEncoding.allCases)
    func packed(encoding: PackingEncoding) throws {
        let pipeline = try student()
        let options = PackingOptions(encoding: encoding, cachedTimesteps: nil)
        let packed = try written {
            try pipeline.writePacked(to: $0, manifest: TinyModel.manifest, options: options)
        }
        #expect(packed.recipe?.layers == pipeline.recipe?.layers)
        #expect(packed.denoiser.quantizedLayers.allSatisfy { $0.weight is PackedWeight })
        #expect(packed.seenBits == pipeline.seenBits)
        let rounded = try images(packed)
        packed.activations = .float32
        #expect(try images(packed).values == images(pipeline).values)
        #expect(try rounded.values != images(pipeline).values, "inputs are rounded unless told otherwise")
        // Packing a packed model again, in the other encoding, and unpacking it to a dense one.
        let other = PackingOptions(encoding: encoding == .radix ? .fixed : .radix, cachedTimesteps: nil)
        let repacked = try written {
            try packed.writePacked(to: $0, manifest: TinyModel.manifest, options: other)
        }
        #expect(repacked.seenBits == pipeline.seenBits)
        let dense = try written { try packed.writeModel(to: $0, manifest: TinyModel.manifest) }
        #expect(dense.seenBits == pipeline.seenBits)
    }

    @Test("16-bit scales move each weight by 2^-11 of itself at most")
    func halfScales() throws {
        let pipeline = try student()
        let packed = try written {
            try pipeline.writePacked(
                to: $0, manifest: TinyModel.manifest,
                options: PackingOptions(scaleType: .float16, cachedTimesteps: nil))
        }
        for layer in pipeline.denoiser.quantizedLayers {
            let other = try #require(packed.denoiser.store.layer(at: layer.path))
            expectClose(
                other.weight.tensor().detached(), layer.weight.tensor().detached(), .float16Rounding,
                layer.path)
        }
    }

    @Test("cached time features replace the time layers, and the images stay within their rounding")
    func cachedTimeFeatures() throws {
        let pipeline = try student()
        let timesteps = try pipeline.samplerTimesteps([.pndm], steps: Self.steps)
        let folder = try TemporaryFolder(), path = folder.file("packed.h5")
        var reported: [Int] = []
        try pipeline.writePacked(
            to: path, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: timesteps)
        ) { done, total in
            reported.append(done)
            #expect(total == pipeline.denoiser.quantizedLayers.count)
        }
        #expect(reported == Array(1...pipeline.denoiser.quantizedLayers.count))
        let packed = try DiffusionPipeline(contentsOf: path)
        let keys = packed.denoiser.store.entries.map(\.key)
        #expect(!keys.contains { $0.hasPrefix("time_embedding.") || $0.contains(".time_emb_proj.") })
        let table = try #require(packed.denoiser.timeFeatures)
        #expect(table.timesteps == timesteps)
        let inventory = try pipeline.denoiser.config.inventory()
        #expect(table.elementCount == timesteps.count * inventory.timeFeaturesPerStep)
        packed.activations = .float32
        expectClose(try images(packed), try images(pipeline), .guidedSampling, "images")
        // Packing it again keeps the table; a dense model of it keeps the weights.
        let again = folder.file("again.h5")
        try packed.writePacked(
            to: again, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: timesteps))
        let other = try DiffusionPipeline(contentsOf: again)
        other.activations = .float32
        #expect(try images(other).values == images(packed).values)
    }

    @Test(
        "a packed file never exceeds its forecast size, and is smaller by 24 kB at most, for every recipe", .slow,
        arguments: PackingEncoding.allCases, [true, false])
    func size(encoding: PackingEncoding, cachesFeatures: Bool) throws {
        let folder = try TemporaryFolder()
        var random = Philox(seed: 5)
        for trial in 0..<6 {
            let pipeline = try TinyModel.pipeline(seed: 1)
            let inventory = try pipeline.inventory()
            let draws = random.uniform([inventory.quantizedLayers.count]).values
            let bits = zip(inventory.quantizedLayers, draws).map { layer, draw in
                (layer.path, BitWidth(1 + Int(draw * 8)))
            }
            let recipe = BitRecipe(layers: Dictionary(uniqueKeysWithValues: bits))
            try pipeline.denoiser.quantize(recipe: recipe, initialization: .minMax)
            let steps = 3 + trial
            let path = folder.file("packed\(trial).h5")
            let scaleType: ElementType = trial % 2 == 0 ? .float32 : .float16
            let manifest = RunManifest(
                toolVersion: "1", commandLine: Array(repeating: "argument", count: 10 * trial), seed: 1,
                inputs: [])
            try pipeline.writePacked(
                to: path, manifest: manifest,
                options: PackingOptions(
                    encoding: encoding, scaleType: scaleType,
                    cachedTimesteps: cachesFeatures ? Array(0..<steps) : nil))
            let storage = StorageModel(bytesPerScale: scaleType.bytesPerElement) {
                packedByteCountBound(count: $0, levels: $1, encoding: encoding)
            }
            let forecast = try storage.storedBytes(
                recipe: recipe, inventory: inventory,
                timeFeatures: cachesFeatures ? .cached(steps: steps) : .layersKept)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path)).count
            #expect(bytes <= forecast)
            if encoding.hasFixedSize { #expect(forecast - bytes < 24_000) }
        }
    }

    @Test("a timestep that is not cached is refused before the first step, for packing too")
    func uncachedTimestep() throws {
        let pipeline = try student()
        let timesteps = try pipeline.samplerTimesteps([.pndm], steps: Self.steps)
        let folder = try TemporaryFolder(), path = folder.file("packed.h5")
        try pipeline.writePacked(
            to: path, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: timesteps))
        let packed = try DiffusionPipeline(contentsOf: path)
        let wanted = try packed.samplerTimesteps([.pndm], steps: 7)
        let missing = try #require(wanted.reversed().first { !timesteps.contains($0) })
        let expected = TimeFeatureError.timestepNotCached(timestep: missing, cached: timesteps)
        #expect(throws: expected) { try images(packed, steps: 7) }
        #expect(throws: TimeFeatureError.self) {
            try packed.writePacked(
                to: folder.file("other.h5"), manifest: TinyModel.manifest,
                options: PackingOptions(cachedTimesteps: wanted))
        }
        #expect(!FileManager.default.fileExists(atPath: folder.file("other.h5")))
    }

    @Test("the timesteps of several samplers are joined, ascending, each once")
    func samplerTimesteps() throws {
        let pipeline = try TinyModel.pipeline()
        let each = try SamplerKind.allCases.map { try pipeline.samplerTimesteps([$0], steps: 10) }
        let joined = try pipeline.samplerTimesteps(SamplerKind.allCases, steps: 10)
        #expect(joined == Set(each.flatMap { $0 }).sorted())
        // PNDM visits one timestep twice with 50 steps: 50 different ones.
        #expect(try pipeline.samplerTimesteps([.pndm], steps: 50).count == 50)
        for kind in [SamplerKind.euler, .eulerAncestral, .heun] {
            #expect(throws: TimeFeatureError.fractionalTimestep(832.5)) {
                try pipeline.samplerTimesteps([kind], steps: 7)
            }
        }
    }

    @Test("a file of a model without a text encoder's config, or of no model, is an error and no trap")
    func faults() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.self) {
            try DiffusionPipeline(contentsOf: folder.file("missing.h5"))
        }
        let path = folder.file("text.h5")
        try Data("no HDF5".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: FileError.self) { try DiffusionPipeline(contentsOf: path) }
    }
}
