// SPDX-License-Identifier: Apache-2.0
// Damaged pipelines give errors or the same kind of model, never a crash: single-file checkpoints with other names and
// shapes, folders with other documents, and LoRA files. `make fuzz` runs these tests with sanitizers.

import Files
import Foundation
import Networks
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct PipelineFuzzTests {
    private static let errors: [any CategorizedError.Type] = [
        CheckpointError.self, ConfigError.self, FileError.self, JSONError.self, LoRAError.self,
        PipelineSourceError.self, SafetensorsError.self, SingleFileError.self, WeightFilesError.self,
    ]

    /// Reads what an import reads: the config of the UNet and the elements of tensors, of one in four.
    private func readEverything(_ source: PipelineSource, _ mutator: inout Mutator) throws {
        for component in source.components {
            if component.name == "unet" { _ = try UNet2DConditionConfig(json: Data(component.config.utf8)) }
            for key in component.tensors.keys where mutator.oneIn(4) { _ = try component.tensors.tensor(key) }
        }
    }

    @Test("single files with other names and shapes give errors or models", arguments: TinyPipeline.all)
    func singleFiles(pipeline: TinyPipeline) throws {
        let folder = try TemporaryFolder()
        let sound = pipeline.singleFile().mapValues(\.shape)
        let refused = fuzz(20, seed: 41, share: 1 / 5, errors: Self.errors) { mutator in
            let path = try folder.writeShapes("model.safetensors", mutator.tensors(sound))
            try readEverything(PipelineSource(path), &mutator)
        }
        // Most other shapes are those of another model, which the network refuses.
        #expect(refused > 0.02 && refused < 1)
    }

    @Test("single files with a damaged header give errors or models")
    func headers() throws {
        let folder = try TemporaryFolder()
        let sound = try folder.writeShapes("sound", TinyPipeline.sd1.singleFile().mapValues(\.shape))
        let bytes = try folder.bytes("sound")
        let length = try SafetensorsReader(sound).keys.isEmpty ? 0 : Int(bytes[0]) | Int(bytes[1]) << 8
        let header = String(decoding: bytes[8..<8 + length], as: UTF8.self)
        let refused = fuzz(20, seed: 42, share: 0.1, errors: Self.errors) { mutator in
            let path = try folder.write(
                "model.safetensors",
                safetensorsBytes(String(decoding: mutator.text(header), as: UTF8.self), Array(bytes[(8 + length)...])))
            try readEverything(PipelineSource(path), &mutator)
        }
        #expect(refused > 0.1)
    }

    @Test("folders with damaged documents give errors or models")
    func documents() throws {
        let folder = try TemporaryFolder()
        let path = try TinyPipeline.sd1.writeFolder(folder, "sd1", as: .float16)
        for (name, text) in [
            ("tokenizer/vocab.json", "{\"a\": 0}"), ("tokenizer/merges.txt", "#version: 0.2\n"),
            (
                "scheduler/scheduler_config.json",
                #"{"_class_name": "PNDMScheduler", "prediction_type": "epsilon", "trained_betas": null}"#
            ),
            (
                "model_index.json",
                """
                {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
                 "feature_extractor": [null, null], "requires_safety_checker": false,
                 "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
                 "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
                 "vae": ["diffusers", "AutoencoderKL"]}
                """
            ),
        ] { try folder.write("sd1/" + name, text) }
        let names = [
            "model_index.json", "model_index.json", "unet/config.json", "scheduler/scheduler_config.json",
            "tokenizer/vocab.json", "text_encoder/config.json",
        ]
        let sound = try names.map { String(decoding: try folder.bytes("sd1/" + $0), as: UTF8.self) }
        let refused = fuzz(40, seed: 43, share: 0.5, errors: Self.errors) { mutator in
            let index = Int.random(in: names.indices, using: &mutator.random)
            try folder.write("sd1/" + names[index], mutator.text(sound[index]))
            defer { _ = try? folder.write("sd1/" + names[index], sound[index]) }
            let source = try PipelineSource(path)
            if let unet = source.component("unet") {
                let config = try UNet2DConditionConfig(json: Data(unet.config.utf8))
                #expect(config.inChannels > 0)
            }
        }
        #expect(refused > 0.1 && refused < 1)
    }

    /// A convolution with a middle matrix, a linear layer with an alpha, and a layer of the text encoder.
    private static let lora = [
        "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": [2, 8, 1, 1],
        "lora_unet_down_blocks_0_resnets_0_conv1.lora_mid.weight": [3, 2, 3, 3],
        "lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": [8, 3, 1, 1],
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": [2, 12],
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": [16, 2],
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.alpha": [],
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": [1, 8],
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": [12, 1],
    ]

    @Test("damaged LoRA files give errors or merged weights")
    func loras() throws {
        let folder = try TemporaryFolder()
        let model = try PipelineSource(TinyPipeline.sd1.writeFolder(folder, "sd1"))
        func merge(_ tensors: [String: [Int]], metadata: [UInt8]? = nil) throws {
            let path = try folder.writeShapes("lora.safetensors", tensors, metadata: metadata)
            let merged = try model.merging([LoRA(path)])
            for component in merged.components where component.name != "vae" {
                for key in component.tensors.keys { _ = try component.tensors.tensor(key) }
            }
        }
        // The sound file is merged.
        try merge(Self.lora)
        let refused = fuzz(60, seed: 44, share: 0.5, errors: Self.errors) { mutator in
            try merge(mutator.tensors(Self.lora))
        }
        #expect(refused > 0.1 && refused < 1)
        let metadata =
            #"{"unet.lora_alpha": 4, "unet.alpha_pattern": {"to_k": 8}, "unet.use_rslora": true, "unet.r": 4, "#
            + #""text_encoder.lora_alpha": 1.5, "unet.use_dora": false}"#
        fuzz(30, seed: 45, share: 0.5, errors: Self.errors) { mutator in
            try merge(Self.lora.filter { !$0.key.hasSuffix("alpha") }, metadata: mutator.text(metadata))
        }
    }

    @Test("shapes are refused where a product of extents overflows, also beside an extent of 0")
    func overflow() throws {
        let folder = try TemporaryFolder()
        let (name, huge) = ("lora_unet_down_blocks_0_resnets_0_conv1", 1 << 40)
        let path = try folder.writeShapes(
            "lora.safetensors",
            [
                name + ".lora_down.weight": [2, 8, 1, 1], name + ".lora_mid.weight": [0, 2, huge, huge],
                name + ".lora_up.weight": [8, 0, 1, 1],
            ])
        #expect(throws: SafetensorsError.self) { try LoRA(path) }
        let weight = "unet/diffusion_pytorch_model.safetensors"
        try folder.write("unet/config.json", "{\"_class_name\": \"UNet2DConditionModel\"}")
        let weights = try folder.writeShapes(weight, ["conv_in.weight": [0, huge, huge, 1]])
        let fault = SafetensorsFault.shapeOverflow(key: "conv_in.weight", shape: [0, huge, huge, 1])
        #expect(throws: SafetensorsError(file: weights, fault: fault)) { try PipelineSource(folder.file("unet")) }
        // An element type of another program, whose size is not known.
        let entry = "{\"dtype\":\"F4\",\"shape\":[\(huge),\(huge)],\"data_offsets\":[0,0]}"
        let unknown = try folder.write(
            "f4.safetensors", safetensorsBytes("{\"lora_unet_conv_in.alpha\":\(entry)}", []))
        #expect(
            throws: SafetensorsError(
                file: unknown, fault: .shapeOverflow(key: "lora_unet_conv_in.alpha", shape: [huge, huge]))
        ) { try LoRA(unknown) }
    }
}

extension TemporaryFolder {
    /// Writes a safetensors file of float16 zeros, with holes instead of data.
    fileprivate func writeShapes(
        _ name: String, _ shapes: [String: [Int]], metadata: [UInt8]? = nil
    ) throws -> String {
        var offset = 0
        var members: [String] = []
        if let metadata {
            let text = try JSONEncoder().encode(String(decoding: metadata, as: UTF8.self))
            let value = String(decoding: text, as: UTF8.self)
            members.append("\"__metadata__\":{\"lora_adapter_metadata\":\(value)}")
        }
        for (key, shape) in shapes.sorted(by: { byBytes($0.key, $1.key) }) {
            let end = offset + (shape.contains(0) ? 0 : 2 * shape.reduce(1, *))
            members.append("\"\(key)\":{\"dtype\":\"F16\",\"shape\":\(shape),\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        let header = safetensorsBytes("{" + members.joined(separator: ",") + "}", [])
        let path = try write(name, header)
        guard truncate(path, off_t(header.count + offset)) == 0 else {
            throw FileError.writeFailed(path: path, code: errno, hadFile: true)
        }
        return path
    }
}
