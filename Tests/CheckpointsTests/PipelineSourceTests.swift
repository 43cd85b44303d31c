// SPDX-License-Identifier: Apache-2.0
// Pipeline folders as different programs and versions leave them on disks.

import Files
import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct PipelineSourceTests {
    @Test("a pipeline folder gives components, tokenizers, scheduler, index, every file read, and what is left out")
    func pipelineFolder() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sdxl.writeFolder(folder, "sdxl")
        for name in ["tokenizer", "tokenizer_2"] {
            try folder.write("sdxl/\(name)/vocab.json", "{}")
            try folder.write("sdxl/\(name)/merges.txt", "#version: 0.2\n")
            try folder.write("sdxl/\(name)/special_tokens_map.json", "{\"pad_token\": \"!\"}")
            try folder.write("sdxl/\(name)/added_tokens.json", "{}")
        }
        try folder.write("sdxl/scheduler/scheduler_config.json", "{\"lambda_min_clipped\": -Infinity}")
        try folder.write(
            "sdxl/model_index.json",
            """
            {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1",
             "feature_extractor": ["transformers", "CLIPImageProcessor"], "force_zeros_for_empty_prompt": true,
             "image_encoder": [null, null], "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
             "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
             "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
            """)
        let source = try PipelineSource(path)
        #expect(source.components.map(\.name) == ["unet", "vae", "text_encoder", "text_encoder_2"])
        #expect(source.components.map(\.className).last == "CLIPTextModelWithProjection")
        for part in TinyPipeline.sdxl.parts {
            let component = try #require(source.component(part.name))
            #expect(component.config == part.configText)
            #expect(Set(component.tensors.keys) == Set(part.network.tensors.keys))
        }
        #expect(Set(source.tokenizers.keys) == ["tokenizer", "tokenizer_2"])
        #expect(
            source.tokenizers["tokenizer_2"]
                == [
                    "vocab.json": "{}", "merges.txt": "#version: 0.2\n",
                    "special_tokens_map.json": "{\"pad_token\": \"!\"}",
                ])
        #expect(source.scheduler == "{\"lambda_min_clipped\": -Infinity}")
        #expect(source.modelIndex.contains("force_zeros_for_empty_prompt"))
        // index, 4 · (config, weights), 2 · 3 tokenizer files, scheduler
        #expect(source.files.count == 16 && Set(source.files).count == 16)
        #expect(source.files.allSatisfy { FileManager.default.fileExists(atPath: $0) })
        #expect(
            source.omitted == [
                OmittedPart(name: "feature_extractor", reason: "only the safety checker needs it"),
                OmittedPart(name: "safety_checker", reason: "images are not filtered"),
            ])
    }

    @Test("a component may be null, its folder may be missing; the UNet must be there")
    func absentComponents() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        let index = """
            {"_class_name": "StableDiffusionPipeline", "safety_checker": [null, null],
             "feature_extractor": [null, null], "text_encoder": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "vae": [null, null]}
            """
        try folder.write("sd1/model_index.json", index)
        try FileManager.default.removeItem(atPath: path + "/text_encoder")
        let source = try PipelineSource(path)
        #expect(source.components.map(\.name) == ["unet"])
        #expect(source.omitted.map(\.name) == ["text_encoder", "tokenizer"])
        try FileManager.default.removeItem(atPath: path + "/unet")
        #expect(throws: PipelineSourceError.missingComponent(path: path + "/unet/config.json")) {
            try PipelineSource(path)
        }
    }

    @Test("an empty index, and a folder without one, stand for the components that are there")
    func emptyIndex() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        try folder.write("sd1/model_index.json", "{}")
        for _ in 0..<2 {
            let source = try PipelineSource(path)
            #expect(source.components.map(\.name) == ["unet", "vae", "text_encoder"])
            #expect(source.modelIndex.contains("AutoencoderKL"))
            try? FileManager.default.removeItem(atPath: path + "/model_index.json")
        }
    }

    @Test("model_index.json decides where config.json is beside it; byte order marks are no part of the texts")
    func oldRepositories() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        try folder.write("sd1/config.json", "{\"_class_name\": \"Other\"}")
        let unet = try #require(TinyPipeline.sd1.part("unet"))
        try folder.write("sd1/unet/config.json", [0xEF, 0xBB, 0xBF] + Array(unet.configText.utf8))
        try folder.write("sd1/model_index.json", [0xEF, 0xBB, 0xBF] + Array(try folder.bytes("sd1/model_index.json")))
        let source = try PipelineSource(path)
        #expect(source.layout == .pipelineFolder)
        #expect(source.component("unet")?.config == unet.configText)
        #expect(source.modelIndex.hasPrefix("{"))
    }

    @Test("a component's folder gives that component, with the scheduler of its pipeline")
    func componentFolder() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        try folder.write("sd1/scheduler/scheduler_config.json", "{}")
        for part in TinyPipeline.sd1.parts {
            let source = try PipelineSource("\(path)/\(part.name)")
            #expect(source.layout == .componentFolder)
            #expect(source.components.map(\.name) == [part.name])
            #expect(source.components.map(\.className) == [part.className])
            #expect(source.scheduler == (part.name == "unet" ? "{}" : nil))
            #expect(source.files.count == (part.name == "unet" ? 3 : 2))
        }
    }

    @Test("names of older and newer versions of diffusers and transformers are made the same")
    func formerNames() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sdxl.writeFolder(folder, "new")
        let former = [".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."]
        for part in TinyPipeline.sdxl.parts where part.name != "unet" {
            var tensors: [String: Tensor] = [:]
            for (key, value) in part.weights {
                var name = key
                if part.name == "vae", key.contains(".attentions.") {
                    for (new, old) in former { name = name.replacingOccurrences(of: new, with: old) }
                    let isMatrix = value.shape.count == 2
                    tensors[name] = isMatrix ? value.reshaped(value.shape + [1, 1]) : value
                } else {
                    tensors[name.replacingOccurrences(of: "text_model.", with: "")] = value
                }
            }
            if part.name != "vae" { tensors["embeddings.position_ids"] = Tensor([0], shape: [1, 1]) }
            try folder.write("old/\(part.name)/config.json", part.configText)
            try folder.writeTensors("old/\(part.name)/\(part.stem).safetensors", tensors)
        }
        for part in TinyPipeline.sdxl.parts where part.name != "unet" {
            let old = try #require(PipelineSource(folder.file("old/\(part.name)")).components.first)
            let new = try #require(PipelineSource("\(path)/\(part.name)").components.first)
            #expect(old.tensors.keys == new.tensors.keys)
            for key in new.tensors.keys {
                #expect(old.tensors.stored(key)?.shape == new.tensors.stored(key)?.shape)
                #expect(try old.tensors.bytes(key) == new.tensors.bytes(key), "\(key)")
            }
        }
    }

    @Test("components without the variant that was asked for give weights without one; none of it is an error")
    func variants() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        let unet = try #require(TinyPipeline.sd1.part("unet"))
        try unet.writeFolder(folder, "sd1/unet", as: .float16, variant: "fp16")
        func types(_ variant: String?) throws -> [StorageType?] {
            try PipelineSource(path, variant: variant).components.map { component in
                component.tensors.keys.first.flatMap { component.tensors.stored($0)?.type }
            }
        }
        #expect(try types(nil) == [.float32, .float32, .float32])
        #expect(try types("fp16") == [.float16, .float32, .float32])
        #expect(
            throws: WeightFilesError.otherVariants(folder: path + "/unet", asked: "bf16", present: ["", "fp16"])
        ) { try types("bf16") }
        try FileManager.default.removeItem(atPath: path + "/unet/diffusion_pytorch_model.safetensors")
        #expect(try types(nil) == [.float16, .float32, .float32])
    }

    @Test("the Hub's cache is read through its links, from the snapshot and from the model's folder")
    func hubCache() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "plain")
        let snapshot = "models--a--b/snapshots/0123abcd"
        try folder.write("models--a--b/refs/main", "0123abcd")
        let files = FileManager.default
        try files.createDirectory(atPath: folder.file("models--a--b/blobs"), withIntermediateDirectories: true)
        for name in try files.subpathsOfDirectory(atPath: path) where name.contains(".") {
            let blob = name.replacingOccurrences(of: "/", with: "-")
            try files.copyItem(atPath: "\(path)/\(name)", toPath: folder.file("models--a--b/blobs/\(blob)"))
            let depth = name.split(separator: "/").count
            try folder.write("\(snapshot)/\(name)", "")
            try files.removeItem(atPath: folder.file("\(snapshot)/\(name)"))
            let up = String(repeating: "../", count: depth + 1)
            try files.createSymbolicLink(
                atPath: folder.file("\(snapshot)/\(name)"), withDestinationPath: "\(up)blobs/\(blob)")
        }
        for start in ["models--a--b", snapshot] {
            let source = try PipelineSource(folder.file(start))
            #expect(source.components.map(\.name) == ["unet", "vae", "text_encoder"])
            #expect(try source.components[0].tensors.bytes("conv_in.bias").count == 32)
        }
        let blob = "unet-diffusion_pytorch_model.safetensors"
        try files.removeItem(atPath: folder.file("models--a--b/blobs/\(blob)"))
        let link = folder.file("\(snapshot)/unet/diffusion_pytorch_model.safetensors")
        #expect(throws: WeightFilesError.danglingLink(path: link, target: "../../../blobs/\(blob)")) {
            try PipelineSource(folder.file(snapshot))
        }
    }

    @Test("other pipelines are refused by name")
    func otherPipelines() throws {
        let folder = try TemporaryFolder()
        let unet = "\"unet\": [\"diffusers\", \"UNet2DConditionModel\"]"
        let cases: [(String, PipelineSourceError)] = [
            (
                "\"_class_name\": \"FluxPipeline\", \"transformer\": [\"diffusers\", \"FluxTransformer2DModel\"]",
                .noUNet(folder: folder.path, pipeline: "FluxPipeline", denoiser: "FluxTransformer2DModel")
            ),
            (
                "\"_class_name\": \"StableDiffusionXLImg2ImgPipeline\", \"requires_aesthetics_score\": true, \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "StableDiffusionXLImg2ImgPipeline", reason: "the SDXL refiner")
            ),
            (
                "\"_class_name\": \"StableDiffusionUpscalePipeline\", \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "StableDiffusionUpscalePipeline",
                    reason: "its UNet has other inputs")
            ),
            (
                "\"_class_name\": \"StableVideoDiffusionPipeline\", \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "StableVideoDiffusionPipeline", reason: "it generates videos")
            ),
            (
                "\"_class_name\": \"StableDiffusionLDM3DPipeline\", \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "StableDiffusionLDM3DPipeline", reason: "its images have depth")
            ),
            (
                "\"_class_name\": \"AudioLDMPipeline\", \(unet)",
                .otherPipeline(folder: folder.path, pipeline: "AudioLDMPipeline", reason: "it generates sound")
            ),
            (
                "\"_class_name\": \"KolorsPipeline\", \"text_encoder\": [\"kolors\", \"ChatGLMModel\"], \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "KolorsPipeline",
                    reason: "text_encoder: expected CLIPTextModel or CLIPTextModelWithProjection, found ChatGLMModel")
            ),
            (
                "\"_class_name\": \"OtherPipeline\", \"vae\": [\"diffusers\", \"VQModel\"], \(unet)",
                .otherPipeline(
                    folder: folder.path, pipeline: "OtherPipeline",
                    reason: "vae: expected AutoencoderKL, found VQModel")
            ),
        ]
        for (members, error) in cases {
            try folder.write("model_index.json", "{\(members)}")
            #expect(throws: error) { try PipelineSource(folder.path) }
            #expect("\(error)".contains("supported are"))
        }
    }

    @Test("a pipeline of unknown name is read if its components are supported")
    func customPipeline() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1")
        let index = String(decoding: try folder.data("sd1/model_index.json"), as: UTF8.self)
        for name in ["\"MyPipeline\"", "[\"pipeline\", \"MyPipeline\"]"] {
            try folder.write("sd1/model_index.json", index.replacing("\"StableDiffusionPipeline\"", with: name))
            #expect(try PipelineSource(path).components.map(\.name) == ["unet", "vae", "text_encoder"])
        }
    }

    @Test("a model file, and files that are not checkpoints, are refused for what they are")
    func otherFiles() throws {
        let folder = try TemporaryFolder()
        let model = folder.file("model.h5")
        try SampleCheckpoint.writeModel(model)
        #expect(throws: PipelineSourceError.modelFile(path: model, format: "bitsfusion-model")) {
            try PipelineSource(model)
        }
        let kinds: [([UInt8], FileKind)] = [
            ([0xFF, 0xD8, 0xFF, 0xE0, 0], .jpeg), ([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0], .png),
            (FileInspection.hdf5Signature, .hdf5), (Array("a text, ä".utf8), .text), (Array("BM6\0\0\0".utf8), .bmp),
            (Array(String(repeating: "ä", count: 300).utf8.dropLast()), .text),
        ]
        for (bytes, kind) in kinds {
            let path = try folder.write("file", bytes)
            #expect(throws: FileError.wrongKind(path: path, expected: .safetensors, found: kind)) {
                try PipelineSource(path)
            }
        }
    }

    @Test("folders without configs say what they hold")
    func otherFolders() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.wrongKind(path: folder.path, expected: .diffusersFolder, found: .folder)) {
            try PipelineSource(folder.path)
        }
        let one = Tensor([1], shape: [1])
        try folder.writeTensors("v1-5.safetensors", ["x": one])
        #expect(throws: PipelineSourceError.noConfig(folder: folder.path, files: ["v1-5.safetensors"])) {
            try PipelineSource(folder.path)
        }
        let lora = try folder.writeTensors("pytorch_lora_weights.safetensors", ["unet.x.lora_A.weight": one])
        #expect(throws: WeightFilesError.lora(file: lora)) { try PipelineSource(folder.path) }
        #expect(throws: PipelineSourceError.predictionTypeOfFolder(path: folder.path)) {
            try PipelineSource(folder.path, predictionType: "epsilon")
        }
        #expect(throws: FileError.missingFile(path: folder.file("none"))) { try PipelineSource(folder.file("none")) }
    }
}
