// SPDX-License-Identifier: Apache-2.0
// diffusers folders: every layout that it saves is read, and what we write is laid out as it expects.

import Files
import Foundation
import Networks
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct DiffusersFolderTests {
    private static let config = "{\"_class_name\": \"UNet2DConditionModel\"}\n"

    private func writeWeights(
        _ folder: TemporaryFolder, _ name: String, _ key: String = "conv_in.weight",
        _ type: StorageType = .float32
    ) throws {
        try folder.write((name as NSString).deletingLastPathComponent + "/.keep", "")
        let tensor = StoredTensor(type: type, shape: [2])
        let writer = try SafetensorsWriter(folder.file(name), tensors: [key: tensor])
        try [UInt8](repeating: 0, count: tensor.byteCount).withUnsafeBytes { try writer.write(key, $0) }
        try writer.finish()
    }

    @Test("a UNet folder gives its config byte for byte, its weights, and every file that was read")
    func unetFolder() throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", Self.config)
        try writeWeights(folder, "diffusion_pytorch_model.safetensors")
        let source = try PipelineSource(folder.path)
        let unet = try #require(source.component("unet"))
        #expect(unet.config == Self.config)
        #expect(source.scheduler == nil)
        #expect(unet.tensors.keys == ["conv_in.weight"])
        #expect(
            source.files == [folder.file("config.json"), folder.file("diffusion_pytorch_model.safetensors")])
    }

    @Test("a pipeline folder gives the UNet below it and carries the scheduler's config, from unet/ as well")
    func pipelineFolder() throws {
        let folder = try TemporaryFolder()
        try folder.write("model_index.json", "{}")
        try folder.write("unet/config.json", Self.config)
        try folder.write("scheduler/scheduler_config.json", "{\"beta_end\": 0.012, \"lambda_min_clipped\": -Infinity}")
        try writeWeights(folder, "unet/diffusion_pytorch_model.safetensors")
        for path in [folder.path, folder.file("unet")] {
            let source = try PipelineSource(path)
            #expect(source.component("unet")?.config == Self.config)
            #expect(source.scheduler == "{\"beta_end\": 0.012, \"lambda_min_clipped\": -Infinity}")
            // A pipeline's index, config and weights of the UNet, scheduler.
            #expect(source.files.count == (path == folder.path ? 4 : 3))
        }
    }

    @Test("weights without a variant are preferred, then fp16; a variant can be asked for")
    func variants() throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", Self.config)
        try writeWeights(folder, "diffusion_pytorch_model.fp16.safetensors", "half.weight", .float16)
        #expect(try PipelineSource(folder.path).component("unet")?.tensors.keys == ["half.weight"])
        try writeWeights(folder, "diffusion_pytorch_model.safetensors", "full.weight")
        #expect(try PipelineSource(folder.path).component("unet")?.tensors.keys == ["full.weight"])
        #expect(try PipelineSource(folder.path, variant: "fp16").component("unet")?.tensors.keys == ["half.weight"])
    }

    @Test(
        "sharded weights are read through their index, in both spellings of the variant",
        arguments: [
            "diffusion_pytorch_model.safetensors.index.json",
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            "diffusion_pytorch_model.fp16.safetensors.index.json",
        ])
    func shards(_ index: String) throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", Self.config)
        try writeWeights(folder, "s-00001-of-00002.safetensors", "a")
        try writeWeights(folder, "s-00002-of-00002.safetensors", "b")
        try folder.write(
            index,
            "{\"weight_map\":{\"a\":\"s-00001-of-00002.safetensors\",\"b\":\"s-00002-of-00002.safetensors\"}}"
        )
        let source = try PipelineSource(folder.path)
        #expect(source.component("unet")?.tensors.keys == ["a", "b"])
        #expect(source.files.count == 4)
    }

    @Test("what is no such folder, or has only weights that are not read, is named")
    func faults() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.missingFile(path: folder.file("x"))) {
            try PipelineSource(folder.file("x"))
        }
        #expect(
            throws: FileError.wrongKind(path: folder.path, expected: .diffusersFolder, found: .folder)
        ) { try PipelineSource(folder.path) }
        let file = try folder.write("config.json", Self.config)
        try folder.write("diffusion_pytorch_model.bin", "PK")
        #expect(
            throws: WeightFilesError.pickles(
                folder: folder.path, stem: "diffusion_pytorch_model", files: ["diffusion_pytorch_model.bin"])
        ) { try PipelineSource(folder.path) }
        try folder.write("config.json", "{")
        #expect(
            throws: JSONError(
                file: file, document: "config.json", fault: .syntax(offset: 1, expected: "a key in quotes"))
        ) { try PipelineSource(folder.path) }
    }

    @Test("a written folder holds exactly the files of diffusers and reads back")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        let target = folder.file("out")
        let tensors = [
            "a.weight": StoredTensor(type: .float32, shape: [2, 2]),
            "b.weight": StoredTensor(type: .float16, shape: [3]),
        ]
        let writer = try DiffusersFolderWriter(target)
        try writer.addNetwork("unet", config: Self.config, tensors: tensors)
        try writer.write("b.weight", Tensor([1, 2, 3], shape: [3]))
        try writer.write("a.weight", SampleCheckpoint.tensor([2, 2]))
        try writer.addTexts(["scheduler_config.json": "{\"beta_end\": 0.012}"], to: "scheduler")
        try writer.finish()
        #expect(
            try FileManager.default.subpathsOfDirectory(atPath: target).sorted() == [
                "config.json", "diffusion_pytorch_model.safetensors", "scheduler",
                "scheduler/scheduler_config.json",
            ])
        let source = try PipelineSource(target)
        let unet = try #require(source.component("unet"))
        #expect(unet.config == Self.config)
        #expect(source.scheduler == "{\"beta_end\": 0.012}")
        #expect(try unet.tensors.tensor("a.weight").values == SampleCheckpoint.values(4))
        #expect(try unet.tensors.tensor("b.weight").values == [1, 2, 3])
    }

    @Test("a folder that cannot be made, that is not empty, or that is a pipeline's, is refused")
    func refused() throws {
        let folder = try TemporaryFolder()
        #expect(throws: FileError.cannotCreate(path: folder.file("x/y"), code: ENOENT)) {
            try DiffusersFolderWriter(folder.file("x/y"))
        }
        let file = try folder.write("file", "")
        #expect(throws: FileError.cannotCreate(path: file, code: EEXIST)) { try DiffusersFolderWriter(file) }
        try folder.write("old/model_index.json", "{}")
        let old = folder.file("old")
        #expect(throws: DiffusersFolderError.notEmpty(folder: old, file: "model_index.json")) {
            try DiffusersFolderWriter(old)
        }
        let writer = try DiffusersFolderWriter(old, overwrites: true)
        #expect(throws: DiffusersFolderError.pipelineFolder(folder: old, component: "unet")) {
            try writer.addNetwork("unet", config: Self.config, tensors: [:])
        }
        #expect(try FileManager.default.subpathsOfDirectory(atPath: old) == ["model_index.json"])
    }

    @Test("a folder that is not completed is as before, and a new one is removed")
    func notCompleted() throws {
        let folder = try TemporaryFolder()
        try folder.write("old/unet/config.json", "old")
        for name in ["old", "new"] {
            let writer = try DiffusersFolderWriter(folder.file(name), overwrites: true)
            try writer.addNetwork(
                "unet", in: "unet", config: Self.config, tensors: ["a": StoredTensor(type: .float32, shape: [1])])
            try writer.write("a", Tensor([1], shape: [1]))
            try writer.addTexts(["vocab.json": "{}"], to: "tokenizer")
            try writer.addTexts(["model_index.json": "{}"], to: "")
        }
        #expect(folder.names == ["old"])
        #expect(
            try FileManager.default.subpathsOfDirectory(atPath: folder.file("old")).sorted() == [
                "unet", "unet/config.json",
            ])
        #expect(try folder.data("old/unet/config.json") == Data("old".utf8))
    }

    @Test("files that would be read in place of the new ones are removed, others are kept")
    func obsoleteFiles() throws {
        let folder = try TemporaryFolder()
        let kept = ["unet/diffusion_pytorch_model-00001-of-00001.safetensors", "unet/notes.txt", "vae/config.json"]
        let removed = ["unet/diffusion_pytorch_model.safetensors.index.json", "tokenizer/tokenizer.json"]
        for name in kept + removed { try folder.write("out/" + name, "{}") }
        let writer = try DiffusersFolderWriter(folder.file("out"), overwrites: true)
        try writer.addNetwork(
            "unet", in: "unet", config: Self.config, tensors: ["a": StoredTensor(type: .float32, shape: [1])])
        try writer.write("a", Tensor([1], shape: [1]))
        try writer.addTexts(
            ["vocab.json": "{}"], to: "tokenizer", replacing: ["vocab.json", "tokenizer.json", "merges.txt"])
        try writer.finish()
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder.file("out"))
        let written = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"]
        #expect(Set(names) == Set(kept + written + ["unet", "vae", "tokenizer"]))
        #expect(try PipelineSource(folder.file("out/unet")).component("unet")?.tensors.keys == ["a"])
    }

    @Test("the index names exactly the components of the folder, and stays as it is where it does")
    func modelIndex() throws {
        func index(_ given: String?, _ names: Set<String>, _ scheduler: String? = nil) throws -> String {
            let header = CheckpointHeader(
                format: .model, architecture: "UNet2DConditionModel", component: "unet", configs: ["unet": "{}"],
                manifest: "{}", scheduler: scheduler, modelIndex: given, tokenizer: nil)
            return try header.modelIndex(components: names)
        }
        func value(_ text: String) throws -> JSONValue { try JSONValue(Array(text.utf8)) }
        let checked = """
            {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0", "requires_safety_checker": true,
             "feature_extractor": ["transformers", "CLIPImageProcessor"], "scheduler": [null, null],
             "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
            """
        let all: Set = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"]
        let written = try index(checked, all, "{\"_class_name\": \"DDIMScheduler\"}")
        let expected = checked.replacing(/"feature_extractor": \[[^\]]*\]/, with: "\"feature_extractor\": [null, null]")
            .replacing(/"safety_checker": \[[^\]]*\]/, with: "\"safety_checker\": [null, null]")
            .replacing(/"scheduler": \[[^\]]*\]/, with: "\"scheduler\": [\"diffusers\", \"DDIMScheduler\"]")
        #expect(try value(written) == value(expected))
        #expect(try index(written, all) == written)
        #expect(try index(expected, all) == expected)

        let xl = try value(
            index(nil, ["unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"]))
        let absent = JSONValue.array([.null, .null])
        #expect(xl["_class_name"]?.text == "StableDiffusionXLPipeline")
        #expect(xl["text_encoder_2"]?.elements == [.string("transformers"), .string("CLIPTextModelWithProjection")])
        #expect(xl["tokenizer_2"]?.elements == [.string("transformers"), .string("CLIPTokenizer")])
        #expect(xl["vae"] == absent && xl["scheduler"] == absent && xl["safety_checker"] == nil)
    }

    @Test(
        "diffusers loads a folder that went through a checkpoint, with the same weights", .slow,
        .enabled(
            if: Python.has("diffusers", "torch", "safetensors"), "Python with diffusers is not installed"))
    func loadedByDiffusers() throws {
        let folder = try TemporaryFolder()
        let make = """
            import sys, torch
            from diffusers import UNet2DConditionModel
            torch.manual_seed(0)
            unet = UNet2DConditionModel(sample_size=8, block_out_channels=(8, 16), layers_per_block=1,
                                        norm_num_groups=4,
                cross_attention_dim=8, attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
            unet.half().save_pretrained(sys.argv[1], max_shard_size="20KB")
            """
        try Python.run(make, folder.file("in"))
        let source = try #require(PipelineSource(folder.file("in")).component("unet"))
        let header = CheckpointHeader(
            format: .model, architecture: "UNet2DConditionModel", config: source.config, manifest: "{}")
        let writer = try CheckpointWriter(folder.file("model.h5"), header: header)
        for key in source.tensors.keys {
            let stored = try source.tensors.encoded(key)
            try stored.bytes.withUnsafeBytes {
                try writer.write(key, type: stored.type, shape: stored.shape, bytes: $0)
            }
        }
        try writer.finish()

        let reader = try CheckpointReader(folder.file("model.h5"))
        let stored = reader.parameters.keys.map { ($0, reader.parameters.stored($0)) }
        let export = try DiffusersFolderWriter(folder.file("out"))
        try export.addNetwork(
            "unet", config: reader.header.config,
            tensors: Dictionary(
                uniqueKeysWithValues: stored.compactMap { key, tensor in tensor.map { (key, $0) } }))
        for key in reader.parameters.keys {
            try reader.parameters.bytes(key).withUnsafeBytes { try export.write(key, bytes: $0) }
        }
        try export.finish()

        let compare = """
            import sys, torch
            from diffusers import UNet2DConditionModel
            a, b = [UNet2DConditionModel.from_pretrained(p, torch_dtype=torch.float16).state_dict()
                    for p in sys.argv[1:]]
            print(a.keys() == b.keys(), all(torch.equal(a[k], b[k]) for k in a), len(a) > 50)
            """
        #expect(try Python.run(compare, folder.file("in"), folder.file("out")) == "True True True\n")
        #expect(
            try folder.bytes("in/config.json") == folder.bytes("out/config.json"))
    }
}
