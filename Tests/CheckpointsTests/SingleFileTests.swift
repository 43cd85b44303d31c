// SPDX-License-Identifier: Apache-2.0
// Single files with the names of the original repositories: they give what the folder of the same model gives.

import Files
import Foundation
import Networks
import Pipelines
import Tensors
import TestKit
import Testing
import Tokenizers

@testable import Checkpoints

@Suite struct SingleFileTests {
    /// Further tensors that files of trainings contain.
    private static let ignored = ["alphas_cumprod", "betas", "model_ema.diffusion_modelout2bias", "model_ema.decay"]

    private func write(
        _ pipeline: TinyPipeline, _ folder: TemporaryFolder, as type: StorageType = .float32,
        adding: [String: Tensor] = [:], removing: (String) -> Bool = { _ in false }
    ) throws -> String {
        var tensors = pipeline.singleFile().merging(adding) { $1 }
        for key in tensors.keys where removing(key) { tensors[key] = nil }
        return try folder.writeTensors("model.safetensors", tensors, as: type)
    }

    @Test(
        "a single file gives the same components, names and bits as the folder of the same model",
        arguments: TinyPipeline.all, [StorageType.float32, .bfloat16])
    func folderAndFile(_ pipeline: TinyPipeline, _ type: StorageType) throws {
        let folder = try TemporaryFolder()
        let extra = Dictionary(uniqueKeysWithValues: Self.ignored.map { ($0, Tensor([1, 2], shape: [2])) })
        let file = try PipelineSource(try write(pipeline, folder, as: type, adding: extra))
        let expected = try PipelineSource(try pipeline.writeFolder(folder, "folder", as: type))
        #expect(file.layout == .singleFile && expected.layout == .pipelineFolder)
        #expect(file.components.map(\.name) == pipeline.parts.map(\.name))
        #expect(file.components.map(\.name) == expected.components.map(\.name))
        #expect(file.components.map(\.className) == expected.components.map(\.className))
        for (found, wanted) in zip(file.components, expected.components) {
            #expect(found.tensors.keys == wanted.tensors.keys)
            for key in wanted.tensors.keys {
                #expect(found.tensors.stored(key)?.shape == wanted.tensors.stored(key)?.shape, "\(key)")
                #expect(found.tensors.stored(key)?.type == type)
                #expect(try found.tensors.bytes(key) == wanted.tensors.bytes(key), "\(found.name) \(key)")
            }
        }
        #expect(file.omitted.map(\.name) == ["model_ema"])
        #expect(file.omitted.last?.reason == "2 tensors: moving averages of the weights")
        #expect(file.files == [folder.file("model.safetensors")])
    }

    @Test("any part of a renamed, divided or transposed tensor can be read", arguments: [TinyPipeline.sdxl])
    func parts(_ pipeline: TinyPipeline) throws {
        let folder = try TemporaryFolder()
        let source = try PipelineSource(try write(pipeline, folder))
        let tensors = try #require(source.component("text_encoder_2")).tensors
        let attention = "text_model.encoder.layers.1.self_attn."
        for key in ["text_projection.weight", attention + "v_proj.weight", attention + "k_proj.bias"] {
            let whole = try tensors.bytes(key)
            for range in [0..<4, 4..<whole.count, 8..<16] {
                var part = [UInt8](repeating: 0, count: range.count)
                try part.withUnsafeMutableBytes { try tensors.read(key, bytes: range, into: $0) }
                #expect(part == Array(whole[range]))
            }
        }
    }

    @Test("the configs are of the sizes of the weights, and the networks have exactly these tensors")
    func configs() throws {
        let folder = try TemporaryFolder()
        for pipeline in TinyPipeline.all {
            let source = try PipelineSource(try write(pipeline, folder))
            let unet = try #require(source.component("unet"))
            try DenoiserRegistry.config(json: unet.config).checkTensors(of: unet.tensors)
            for component in source.components where component.name.hasPrefix("text") {
                let config = try CLIPTextConfig(json: Data(component.config.utf8))
                let fixture = try #require(pipeline.part(component.name)).network.config
                #expect(config.hiddenSize == fixture["hidden_size"]?.integer)
                #expect(config.numHiddenLayers == 2 && config.vocabSize == 11 && config.maxPositionEmbeddings == 6)
                #expect(config.intermediateSize == 12)
                #expect(component.config.contains("\"initializer_factor\": 1.0"), "transformers refuses the integer 1")
                #expect(config.hiddenAct == (component.config.contains("\"gelu\"") ? .gelu : .quickGELU))
            }
            // What the configs of the folder say, these say too, but for what weights do not tell.
            let untold: Set = [
                "attention_head_dim", "norm_num_groups", "sample_size", "num_attention_heads", "eos_token_id",
                "bos_token_id", "scaling_factor",
            ]
            for component in source.components {
                let found = try JSONValue(Array(component.config.utf8))
                let wanted = try #require(pipeline.part(component.name)).network.config
                for member in found.members ?? [] where !untold.contains(member.key) {
                    guard let value = wanted[member.key], !component.name.hasPrefix("text") else { continue }
                    if member.key == "in_channels" || pipeline.name == "sd2" { continue }
                    #expect(member.value == value, "\(pipeline) \(component.name) \(member.key)")
                }
            }
        }
    }

    /// The published UNets, with the parts of their configs that shape the network.
    static let published: [(String, CheckpointFamily, String)] = [
        (
            "SD 1.5", .sd1,
            """
            {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
            """
        ),
        (
            "SD 2.1", .sd2,
            """
            {"sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
             "use_linear_projection": true, "upcast_attention": true}
            """
        ),
        (
            "SDXL", .sdxl,
            """
            {"sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
             "use_linear_projection": true, "transformer_layers_per_block": [1, 2, 10],
             "block_out_channels": [320, 640, 1280], "addition_embed_type": "text_time",
             "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}
            """
        ),
    ]

    @Test("the UNets of the published models are recognised by names and shapes", arguments: published)
    func publishedUNets(_ name: String, _ family: CheckpointFamily, _ json: String) throws {
        let wanted = try UNet2DConditionConfig(json: Data(json.utf8))
        let names = LDMUNetNames(layersPerBlock: 2)
        let attention = wanted.upBlockTypes.map { $0 == .crossAttention }
        var shapes: [String: [Int]] = [:]
        var keys: Set<String> = []
        for entry in try wanted.skeleton().store.entries {
            let original = try #require(names.original(entry.key) { attention[$0] }, "\(entry.key)")
            #expect(names.diffusers(original) == entry.key)
            shapes["model.diffusion_model." + original] = entry.source.shape
            keys.insert(entry.key)
        }
        #expect(shapes.count == keys.count)
        let unet = try LDMUNet(ShapeSource(shapes), prefix: "model.diffusion_model.")
        #expect(Set(unet.tensors.keys) == keys)
        let sampleSize = wanted.sampleSize?.height ?? 0
        let text = try unet.config(family, sampleSize: sampleSize, pooledChannels: family == .sdxl ? 1280 : nil)
        let found = try UNet2DConditionConfig(json: Data(text.utf8))
        #expect(found.blockOutChannels == wanted.blockOutChannels && found.layersPerBlock == wanted.layersPerBlock)
        #expect(found.downBlockTypes == wanted.downBlockTypes && found.upBlockTypes == wanted.upBlockTypes)
        #expect(found.numAttentionHeads == wanted.numAttentionHeads)
        #expect(found.crossAttentionDim == wanted.crossAttentionDim)
        #expect(found.transformerLayersPerBlock == wanted.transformerLayersPerBlock)
        #expect(found.upTransformerLayersPerBlock == wanted.upTransformerLayersPerBlock)
        #expect(found.useLinearProjection == wanted.useLinearProjection)
        #expect(found.additionTimeEmbedDim == wanted.additionTimeEmbedDim)
        #expect(found.projectionClassEmbeddingsInputDim == wanted.projectionClassEmbeddingsInputDim)
        #expect(found.sampleSize?.height == sampleSize && found.normNumGroups == 32)
    }

    @Test("scheduler, pipeline class and padding tokens are those of the model's repository in diffusers")
    func documents() throws {
        let folder = try TemporaryFolder()
        let expected: [(TinyPipeline, String, String, [String: String])] = [
            (.sd1, "PNDMScheduler", "epsilon", ["tokenizer": "<|endoftext|>"]),
            (.sd2, "DDIMScheduler", "v_prediction", ["tokenizer": "!"]),
            (
                .sdxl, "EulerDiscreteScheduler", "epsilon", ["tokenizer": "<|endoftext|>", "tokenizer_2": "!"]
            ),
            (.inpainting, "PNDMScheduler", "epsilon", ["tokenizer": "<|endoftext|>"]),
            (.pix2pix, "EulerAncestralDiscreteScheduler", "epsilon", ["tokenizer": "<|endoftext|>"]),
        ]
        for (pipeline, scheduler, prediction, padding) in expected {
            let source = try PipelineSource(try write(pipeline, folder))
            let config = try JSONValue(Array(try #require(source.scheduler).utf8))
            #expect(config["_class_name"]?.text == scheduler && config["prediction_type"]?.text == prediction)
            #expect(config["beta_start"]?.double == 0.00085 && config["beta_end"]?.double == 0.012)
            let index = try JSONValue(Array(source.modelIndex.utf8))
            #expect(index["_class_name"]?.text == pipeline.className)
            for part in pipeline.parts { #expect(index[part.name]?.elements?[1].text == part.className) }
            #expect(Set(source.tokenizers.keys) == Set(padding.keys))
            for (name, token) in padding {
                let map = try JSONValue(
                    Array(try #require(source.tokenizers[name]?["special_tokens_map.json"]).utf8))
                #expect(map["pad_token"]?.text == token)
            }
            let vae = try JSONValue(Array(try #require(source.component("vae")).config.utf8))
            #expect(vae["scaling_factor"]?.double == (pipeline.name == "sdxl" ? 0.13025 : 0.18215))
        }
    }

    @Test("the prediction type follows the option, then metadata, markers, the step count and the spread of a bias")
    func predictionType() throws {
        let folder = try TemporaryFolder()
        func type(_ pipeline: TinyPipeline, _ tensors: [String: Tensor] = [:], asked: String? = nil) throws -> String? {
            let source = try PipelineSource(try write(pipeline, folder, adding: tensors), predictionType: asked)
            return try JSONValue(Array(source.scheduler?.utf8 ?? "".utf8))["prediction_type"]?.text
        }
        #expect(try type(.sd2) == "v_prediction")
        #expect(try type(.sd2, asked: "epsilon") == "epsilon")
        #expect(try type(.sd1, asked: "v_prediction") == "v_prediction")
        let marker = ["v_pred": Tensor([0], shape: [1]), "ztsnr": Tensor([0], shape: [1])]
        #expect(try type(.sdxl, marker) == "v_prediction")
        let scheduler = try #require(PipelineSource(folder.file("model.safetensors")).scheduler)
        let config = try JSONValue(Array(scheduler.utf8))
        #expect(config["rescale_betas_zero_snr"] == .bool(true) && config["timestep_spacing"]?.text == "trailing")
        #expect(throws: SingleFileError.predictionType(found: "x0")) { try type(.sd1, asked: "x0") }

        for (spread, expected) in [(Float(0.05), "epsilon"), (0.2, "v_prediction")] {
            let values = (0..<8).map { $0 % 2 == 0 ? spread : -spread }
            let key = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
            let path = try folder.writeTensors("bias.safetensors", [key: Tensor(values, shape: [8])])
            let unet = try LDMUNet(
                ShapeSource(try Self.shapes(of: .sd2)), prefix: "model.diffusion_model.")
            let found = SingleFilePrediction(
                try SafetensorsReader(path), family: .sd2, unet: unet, unetPrefix: "", asked: nil)
            #expect(found.type == expected)
        }
    }

    private static func shapes(of pipeline: TinyPipeline) throws -> [String: [Int]] {
        pipeline.singleFile().filter { $0.key.hasPrefix("model.") }.mapValues(\.shape)
    }

    @Test("SD 2.x drops the last of 24 layers of its text encoder, which the model does not use, and the projection")
    func penultimateLayer() throws {
        let folder = try TemporaryFolder()
        let prefix = "cond_stage_model.model."
        let extra = [
            prefix + "transformer.resblocks.23.ln_1.weight": Tensor([1], shape: [1]),
            prefix + "text_projection": Tensor([1], shape: [1, 1]), prefix + "logit_scale": Tensor([1], shape: [1]),
        ]
        let source = try PipelineSource(try write(.sd2, folder, adding: extra))
        let text = try #require(source.component("text_encoder"))
        #expect(Set(text.tensors.keys) == Set(try #require(TinyPipeline.sd2.part("text_encoder")).network.tensors.keys))
    }

    @Test("text encoders with other names of the same tensors are read: without text_model, with position_ids")
    func textNames() throws {
        let folder = try TemporaryFolder()
        let prefix = "cond_stage_model.transformer."
        var tensors: [String: Tensor] = [:]
        for (key, value) in TinyPipeline.sd1.singleFile() {
            tensors[key.replacingOccurrences(of: prefix + "text_model.", with: prefix)] = value
        }
        tensors[prefix + "embeddings.position_ids"] = Tensor([0], shape: [1, 1])
        let source = try PipelineSource(try folder.writeTensors("model.safetensors", tensors))
        let text = try #require(source.component("text_encoder"))
        #expect(Set(text.tensors.keys) == Set(try #require(TinyPipeline.sd1.part("text_encoder")).network.tensors.keys))
    }

    @Test("a UNet alone is read, with and without its prefix; what the file lacks is listed")
    func unetAlone() throws {
        let folder = try TemporaryFolder()
        for strip in [false, true] {
            var tensors: [String: Tensor] = [:]
            let prefix = "model.diffusion_model."
            for (key, value) in TinyPipeline.sd1.singleFile() where key.hasPrefix(prefix) {
                tensors[strip ? String(key.dropFirst(prefix.count)) : key] = value
            }
            let source = try PipelineSource(try folder.writeTensors("unet.safetensors", tensors))
            #expect(source.components.map(\.name) == ["unet"])
            #expect(
                source.omitted == [
                    OmittedPart(name: "vae", reason: "not in the file"),
                    OmittedPart(name: "text_encoder", reason: "not in the file"),
                ])
        }
    }

    @Test("tensors that a component does not have are an error that lists them")
    func unknownKeys() throws {
        let folder = try TemporaryFolder()
        for (name, component) in [
            ("model.diffusion_model.input_blocks.1.0.adapter.weight", "unet"),
            ("first_stage_model.encoder.mid.attn_2.q.weight", "vae"),
            ("cond_stage_model.transformer.adapter.weight", "text_encoder"),
        ] {
            let path = try write(.sd1, folder, adding: [name: Tensor([1], shape: [1])])
            #expect(throws: SingleFileError.unknownKeys(file: path, component: component, keys: [name])) {
                try PipelineSource(path)
            }
        }
        let path = try write(.sd1, folder, removing: { $0.contains("output_blocks.5.") })
        let error = #expect(throws: SingleFileError.self) { try PipelineSource(path) }
        guard case .layout(path, "unet", _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test(
        "other models are refused by name",
        arguments: [
            ("model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"),
            ("double_blocks.0.img_attn.norm.key_norm.scale", "FLUX"),
            ("conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias", "the SDXL refiner"),
            ("control_model.time_embed.0.weight", "a ControlNet"), ("edm_mean", "Playground v2.5"),
            ("model.diffusion_model.label_emb.weight", "the Stable Diffusion x4 upscaler"),
            ("first_stage_model.encoder.conv_in.weight", "a VAE without a UNet"),
            ("cond_stage_model.model.ln_final.weight", "a text encoder without a UNet"),
            ("model.diffusion_model.blocks.0.weight", "a denoiser that is not a UNet"),
        ])
    func otherModels(_ key: String, _ name: String) throws {
        let folder = try TemporaryFolder()
        let path = try folder.writeTensors("model.safetensors", [key: Tensor([1], shape: [1])])
        #expect(throws: SingleFileError.otherModel(file: path, name: name)) { try PipelineSource(path) }
    }

    @Test("files that are no checkpoint say what they are")
    func otherFiles() throws {
        let folder = try TemporaryFolder()
        let one = Tensor([1], shape: [1])
        let component = try folder.writeTensors("a.safetensors", ["down_blocks.0.resnets.0.conv1.weight": one])
        #expect(throws: SingleFileError.componentFile(file: component)) { try PipelineSource(component) }
        let unknown = try folder.writeTensors("b.safetensors", ["x": one])
        #expect(throws: SingleFileError.unknown(file: unknown, keys: ["x"])) { try PipelineSource(unknown) }
        let lora = try folder.writeTensors("c.safetensors", ["lora_unet_x.lora_down.weight": one])
        #expect(throws: WeightFilesError.lora(file: lora)) { try PipelineSource(lora) }
        let scaled = try folder.writeTensors("d.safetensors", ["scaled_fp8": one])
        #expect(throws: CheckpointError.scaledFloat8(file: scaled, key: "scaled_fp8")) { try PipelineSource(scaled) }
        #expect(throws: PipelineSourceError.variantOfFile(path: unknown)) {
            try PipelineSource(unknown, variant: "fp16")
        }
        let kinds: [(String, String, FileKind)] = [
            ("a.ckpt", "PK\u{3}\u{4}", .zip), ("a.html", "\n<!DOCTYPE html><html>", .html),
            ("a.lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", .lfsPointer),
            ("a.gguf", "GGUF\u{3}", .gguf),
        ]
        for (name, text, kind) in kinds {
            let path = try folder.write(name, text)
            let error = #expect(throws: FileError.self) { try PipelineSource(path) }
            #expect(error == .wrongKind(path: path, expected: .safetensors, found: kind))
            let line = String(describing: try #require(error))
            #expect(line.contains("; ") && !line.contains("\n"))
        }
        let pickle = try folder.write("model.safetensors", [0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9])
        #expect(throws: FileError.wrongKind(path: pickle, expected: .safetensors, found: .pickle)) {
            try PipelineSource(pickle)
        }
    }

    @Test(
        "diffusers loads the export of a single file, with tokenizers that give the same ids", .slow,
        .enabled(
            if: Python.has("diffusers", "transformers", "torch"), "Python with diffusers is not installed"))
    func exported() throws {
        let folder = try TemporaryFolder()
        let pipeline = TinyPipeline.sdxl
        // Tables of CLIP's size, so that its vocabulary fits.
        let tables = [
            "transformer.text_model.embeddings.token_embedding.weight": [49408, 8],
            "transformer.text_model.embeddings.position_embedding.weight": [77, 8],
            "model.token_embedding.weight": [49408, 8], "model.positional_embedding": [77, 8],
        ]
        var tensors = pipeline.singleFile()
        for (suffix, shape) in tables {
            for key in tensors.keys where key.hasPrefix("cond") && key.hasSuffix(suffix) {
                tensors[key] = .full(shape, 0.5)
            }
        }
        let source = try PipelineSource(folder.writeTensors("model.safetensors", tensors))
        try source.writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        let reader = try CheckpointReader(folder.file("model.h5"))
        try DiffusersExport(reader).write(to: DiffusersFolderWriter(folder.file("out")))
        let program = """
            import json, sys, diffusers
            pipeline = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1])
            names = [name for name in ("tokenizer", "tokenizer_2") if name in pipeline.components]
            ids = [getattr(pipeline, name)(json.loads(sys.argv[2]), padding="max_length", truncation=True).input_ids
                   for name in names]
            print(json.dumps([type(pipeline).__name__, names, ids]))
            """
        let long = "naïve café 東京 don't " + String(repeating: "x ", count: 80)
        let prompts = ["", "A photo of 2 cats, in the garden!", long]
        let argument = String(decoding: try JSONEncoder().encode(prompts), as: UTF8.self)
        let found = try JSONValue(Array(Python.run(program, folder.file("out"), argument).utf8))
        let names = reader.header.tokenizers.keys.sorted()
        let ids = try names.map { name in
            let tokenizer = try CLIPTokenizer(files: TokenizerFiles(reader.header.tokenizers[name] ?? [:]))
            return JSONValue.array(
                try prompts.map { .array(try tokenizer.encode($0).map { .double(Double($0)) }) })
        }
        #expect(found.elements?[0].text == pipeline.className)
        #expect(found.elements?[1].elements?.compactMap(\.text) == names)
        #expect(found.elements?[2] == .array(ids))
    }
}
