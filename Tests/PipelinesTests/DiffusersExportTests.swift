// SPDX-License-Identifier: Apache-2.0
// Exports of whole pipelines: they are imported as what was exported, and diffusers makes the same images of them.

import Checkpoints
import Files
import Foundation
import Layers
import Networks
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct DiffusersExportTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Exports a file to the folder `name`.
    @discardableResult
    private func export(
        _ path: String, to name: String, component: String? = nil, original: String? = nil
    ) throws -> String {
        try DiffusersExport(CheckpointReader(path), component: component).write(
            to: DiffusersFolderWriter(folder.file(name)), original: original.map { try CheckpointReader($0) })
        return folder.file(name)
    }

    /// Imports the folder `path` to the file `name`.
    private func imported(_ path: String, to name: String) throws -> String {
        try PipelineSource(path).writeModel(to: folder.file(name), manifest: TinyModel.manifest)
        return folder.file(name)
    }

    /// Packs a model without its VAE encoder, the denoiser at 3 bits and the other components at 8, and, where it can
    /// be, without its time layers.
    private func packed(_ model: String, to name: String) throws -> String {
        let pipeline = try DiffusionPipeline(contentsOf: model)
        let inventory = try pipeline.layerInventory()
        let recipe = BitRecipe.uniform(BitWidth(3), over: inventory).quantizingComponents(BitWidth(8), of: inventory)
        let cachesFeatures = pipeline.denoiser.config.addedConditionsType == nil
        var options = PackingOptions(cachedTimesteps: cachesFeatures ? [1, 501] : nil)
        options.keepsVAEEncoder = false
        try pipeline.writePacked(
            to: folder.file(name), manifest: TinyModel.manifest, options: options,
            quantization: PostTrainingQuantization(recipe: recipe, initialization: .minMax))
        return folder.file(name)
    }

    /// What the parameters of a pipeline compute with, by component and key.
    private func values(_ pipeline: DiffusionPipeline) -> [String: [Float]] {
        var values: [String: [Float]] = [:]
        for component in pipeline.components {
            for entry in component.store.entries {
                values[component.name + "." + entry.key] = withoutGradients { entry.source.tensor().values }
            }
        }
        return values
    }

    @Test("import, export and import give equal tensors, configs and texts", arguments: ReferencePipelines.kinds)
    func roundTrip(kind: String) throws {
        let first = try CheckpointReader(ReferencePipelines.imported(kind, in: folder))
        let again = try CheckpointReader(imported(export(first.path, to: "out"), to: "again.h5"))
        #expect(again.header == first.header)
        #expect(first.header.configs.count == (kind == "sdxl" ? 4 : 3))
        for name in first.header.configs.keys {
            let (found, expected) = (try #require(again.parameters(of: name)), try #require(first.parameters(of: name)))
            #expect(found.keys == expected.keys)
            for key in expected.keys {
                #expect(found.stored(key) == expected.stored(key), "\(name) \(key)")
                #expect(try found.bytes(key) == expected.bytes(key), "\(name) \(key)")
            }
        }
    }

    @Test("a packed file without time layers and VAE encoder becomes a complete pipeline", arguments: ["sd1", "sdxl"])
    func packedPipeline(kind: String) throws {
        let model = try ReferencePipelines.imported(kind, in: folder)
        let packed = try packed(model, to: "packed.h5")
        let export = try DiffusersExport(CheckpointReader(packed))
        #expect(export.model.missingParts == (kind == "sd1" ? [.timeLayers, .vaeEncoder] : [.vaeEncoder]))
        let again = try imported(self.export(packed, to: "out", original: model), to: "again.h5")
        let found = values(try DiffusionPipeline(contentsOf: again))
        let own = values(try DiffusionPipeline(contentsOf: packed))
        let original = values(try DiffusionPipeline(contentsOf: model))
        #expect(found.keys.sorted() == original.keys.sorted())
        #expect(own.count < found.count)
        for (key, value) in found { #expect(value == own[key] ?? original[key], "\(key)") }
        #expect(own.contains { $0.value != original[$0.key] })
        // transformers would round the others to the type of one tensor.
        let text = try #require(CheckpointReader(again).textEncoder)
        #expect(text.keys.allSatisfy { text.stored($0)?.type == .float32 })
        let (header, expected) = (try CheckpointReader(again).header, try CheckpointReader(model).header)
        #expect(header.tokenizers == expected.tokenizers && header.configs == expected.configs)
        #expect(header.modelIndex == expected.modelIndex && header.scheduler == expected.scheduler)
    }

    @Test("a student's layers are written as the weights that it computes with")
    func student() throws {
        let pipeline = try DiffusionPipeline(contentsOf: ReferencePipelines.imported("sd1", in: folder))
        try pipeline.quantize(
            recipe: .uniform(BitWidth(2), over: pipeline.layerInventory()), initialization: .minMax)
        try pipeline.writeStudent(to: folder.file("student.h5"), manifest: TinyModel.manifest)
        let again = try imported(export(folder.file("student.h5"), to: "out"), to: "again.h5")
        #expect(try values(DiffusionPipeline(contentsOf: again)) == values(pipeline))
    }

    @Test("one component is written by itself, under its own names")
    func component() throws {
        let model = try ReferencePipelines.imported("sdxl", in: folder)
        let files = [
            "unet": ["config.json", "diffusion_pytorch_model.safetensors", "scheduler"],
            "vae": ["config.json", "diffusion_pytorch_model.safetensors"],
            "text_encoder_2": ["config.json", "model.safetensors"],
            "tokenizer": ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"],
            "scheduler": ["scheduler_config.json"],
        ]
        for (name, expected) in files {
            let path = try export(model, to: name, component: name)
            #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == expected)
        }
        let known = [
            "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
        ]
        #expect(throws: PipelineError.unknownComponent(name: "safety_checker", known: known)) {
            try export(model, to: "safety_checker", component: "safety_checker")
        }
        let source = try PipelineSource(folder.file("vae"))
        #expect(source.components.map(\.name) == ["vae"])
    }

    @Test("a text encoder with a tokenizer that transformers does not have is left out of the UNet's folder")
    func otherTokenizer() throws {
        try TinyModel.pipeline().writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        let export = try DiffusersExport(CheckpointReader(folder.file("model.h5")))
        #expect(export.model.networks == ["unet"] && export.omittedTextEncoders == ["text_encoder"])
        let path = try self.export(folder.file("model.h5"), to: "out")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: path).sorted() == [
                "config.json", "diffusion_pytorch_model.safetensors",
            ])
    }

    @Test("a VAE encoder is taken only from a model with the same decoder and config")
    func otherDecoder() throws {
        let model = try ReferencePipelines.imported("sdxl", in: folder)
        let packed = try packed(model, to: "packed.h5")
        let header = try CheckpointReader(model).header
        // Writes the model with changed parameters of the VAE.
        func changed(_ name: String, _ config: String? = nil, _ change: (String, Tensor) -> Tensor) throws -> String {
            var header = header
            header.configs["vae"] = config ?? header.configs["vae"]
            let reader = try CheckpointReader(model)
            let writer = try CheckpointWriter(folder.file(name), header: header)
            for component in header.configs.keys.sorted() {
                let source = try #require(reader.parameters(of: component))
                for key in source.keys {
                    let value = try source.tensor(key)
                    try writer.write(key, in: .component(component), component == "vae" ? change(key, value) : value)
                }
            }
            try writer.finish()
            return folder.file(name)
        }
        let bias = "decoder.conv_in.bias"
        let other = try changed("other.h5") { $0 == bias ? $1 + 1 : $1 }
        let error = #expect(throws: PipelineError.self) { try export(packed, to: "a", original: other) }
        guard case .otherDecoder(other, packed, let difference, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(difference > 0.01)
        let config = try #require(header.configs["vae"]).replacing("\"scaling_factor\"", with: "\"shift_factor\"")
        let otherConfig = try changed("config.h5", config) { $1 }
        #expect(throws: PipelineError.otherConfig(part: .vaeEncoder, packed: packed)) {
            try export(packed, to: "a", original: otherConfig)
        }
        #expect(throws: PipelineError.missingPart(.vaeEncoder)) { try export(packed, to: "a", original: packed) }
        #expect(folder.names.filter { !$0.hasSuffix(".h5") }.isEmpty)
        // Without the VAE, nothing is missing.
        try export(packed, to: "unet", component: "unet")
        let sameDecoder = try changed("encoder.h5") { $0.hasPrefix("encoder.") ? $1 + 1 : $1 }
        try export(packed, to: "b", original: sameDecoder)
    }

    @Test(
        "diffusers loads exported packed pipelines of all kinds, and makes the same images", .slow,
        .enabled(
            if: Python.has("diffusers", "transformers", "torch"), "Python with diffusers is not installed"))
    func diffusersImages() throws {
        var expected: [String: [UInt8]] = [:]
        var arguments: [[String: JSONValue]] = []
        for kind in ReferencePipelines.kinds {
            let model = try ReferencePipelines.imported(kind, in: folder)
            let packed = try packed(model, to: kind + ".packed.h5")
            let path = try export(packed, to: kind, original: model)
            let reference = try #require(ReferenceCase.all.first { $0.pipeline == kind })
            let again = try DiffusionPipeline(contentsOf: imported(path, to: kind + ".again.h5"))
            guard reference.image == nil else {
                arguments.append(["folder": .string(path)])
                continue
            }
            expected[kind] = try reference.pixels(of: again)
            arguments.append([
                "folder": .string(path), "output": .string(folder.file(kind + ".rgb")),
                "prompts": .array(reference.prompts.map { .string($0) }),
                "negative": reference.negativePrompt.map { .string($0) } ?? .null,
                "seeds": .array(reference.seeds.map { .double(Double($0)) }),
                "steps": .double(Double(reference.steps)), "scale": .double(Double(reference.guidanceScale)),
                "width": reference.width.map { .double(Double($0)) } ?? .null,
                "height": reference.height.map { .double(Double($0)) } ?? .null,
            ])
        }
        let classes = try Python.run(Self.program, String(decoding: JSONEncoder().encode(arguments), as: UTF8.self))
        #expect(
            classes.split(separator: "\n") == [
                "StableDiffusionPipeline", "StableDiffusionPipeline", "StableDiffusionPipeline",
                "StableDiffusionXLPipeline", "StableDiffusionInpaintPipeline",
                "StableDiffusionInstructPix2PixPipeline",
            ])
        #expect(expected.count == 4)
        for (kind, pixels) in expected {
            let found = try folder.bytes(kind + ".rgb")
            try #require(found.count == pixels.count, "\(kind)")
            let largest = zip(found, pixels).map { abs(Int($0) - Int($1)) }.max() ?? 0
            #expect(largest <= 1, "\(kind): \(largest)")
        }
    }

    /// Prints the class of each pipeline and writes its images as RGB bytes.
    private static let program = """
        import json, sys, diffusers, torch
        for options in json.loads(sys.argv[1]):
            pipeline = diffusers.DiffusionPipeline.from_pretrained(options["folder"])
            pipeline.set_progress_bar_config(disable=True)
            print(type(pipeline).__name__)
            if "output" not in options:
                continue
            negative = options["negative"]
            images = pipeline(
                options["prompts"], negative_prompt=negative and [negative] * len(options["prompts"]),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in options["seeds"]],
                num_inference_steps=options["steps"], guidance_scale=options["scale"],
                width=options["width"], height=options["height"]).images
            with open(options["output"], "wb") as file:
                for image in images:
                    file.write(image.convert("RGB").tobytes())
        """
}
