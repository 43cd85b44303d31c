// SPDX-License-Identifier: Apache-2.0
// Why weights are not found in a folder: what is there instead, and what to do.

import Files
import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct WeightFilesTests {
    private let one = ["conv_in.weight": Tensor([1, 2], shape: [2])]

    private func reason(
        _ names: [String], variant: String? = nil, in folder: TemporaryFolder
    ) throws -> WeightFilesError? {
        try folder.write("m/config.json", "{}")
        for name in names { try folder.writeTensors("m/" + name, one) }
        let error = #expect(throws: (any Error).self) { try PipelineSource(folder.file("m"), variant: variant) }
        return error as? WeightFilesError
    }

    @Test("other variants are listed with the option that takes them")
    func otherVariants() throws {
        let cases: [([String], String?, [String], String)] = [
            (
                ["diffusion_pytorch_model.non_ema.safetensors"], nil, ["non_ema"],
                "no weights without a variant; found non_ema; use --variant non_ema"
            ),
            (
                ["diffusion_pytorch_model.safetensors"], "bf16", [""],
                "no weights of the variant bf16; found weights without a variant; leave out --variant"
            ),
            (
                ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"], "bf16",
                ["", "fp16"],
                "no weights of the variant bf16; found weights without a variant and fp16; leave out --variant, or "
                    + "use --variant fp16"
            ),
        ]
        for (names, variant, present, text) in cases {
            let folder = try TemporaryFolder()
            let error = try #require(try reason(names, variant: variant, in: folder))
            #expect(error == .otherVariants(folder: folder.file("m"), asked: variant, present: present))
            #expect("\(error)" == "\(folder.file("m")): \(text)")
            #expect(error.category == .inputMissing)
        }
    }

    @Test("shards without an index, an index without a shard, and links to nothing are named")
    func missingParts() throws {
        var folder = try TemporaryFolder()
        let shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
        #expect(
            try reason([shard], in: folder)
                == .missingIndex(
                    folder: folder.file("m"), index: "diffusion_pytorch_model.safetensors.index.json", shards: [shard]))

        let index = try folder.write(
            "m/diffusion_pytorch_model.safetensors.index.json",
            "{\"weight_map\": {\"a\": \"\(shard)\", \"b\": \"second.safetensors\"}}")
        try folder.writeTensors("m/" + shard, ["a": Tensor([1], shape: [1])])
        #expect(throws: WeightFilesError.missingShard(index: index, shard: "second.safetensors")) {
            try PipelineSource(folder.file("m"))
        }

        folder = try TemporaryFolder()
        try folder.write("m/config.json", "{}")
        let link = folder.file("m/diffusion_pytorch_model.safetensors")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "../blobs/abc")
        let error = WeightFilesError.danglingLink(path: link, target: "../blobs/abc")
        #expect(throws: error) { try PipelineSource(folder.file("m")) }
        #expect("\(error)" == "\(link): a link to ../blobs/abc, which does not exist; download the file again")
    }

    @Test("pickles are refused with a command that converts them; text encoders have names of their own")
    func pickles() throws {
        for (config, stem, name) in [
            ("{}", "diffusion_pytorch_model", "diffusion_pytorch_model.bin"),
            ("{\"architectures\": [\"CLIPTextModel\"]}", "model", "pytorch_model.bin"),
        ] {
            let folder = try TemporaryFolder()
            try folder.write("config.json", config)
            try folder.write(name, "PK")
            let error = WeightFilesError.pickles(folder: folder.path, stem: stem, files: [name])
            #expect(throws: error) { try PipelineSource(folder.path) }
            let text = "\(error)"
            #expect(text.hasSuffix(" \(folder.path)/\(name) \(folder.path)/\(stem).safetensors"))
            #expect(text.contains("python3 -c \"") && !text.contains("\n"))
        }
    }

    @Test("a LoRA's folder, and one with other files only, are told apart from one without files")
    func others() throws {
        var folder = try TemporaryFolder()
        let matrix = ["unet.a.lora_A.weight": Tensor([1], shape: [1, 1])]
        try folder.writeTensors("m/pytorch_lora_weights.safetensors", matrix)
        #expect(
            try reason([], in: folder) == .lora(file: folder.file("m/pytorch_lora_weights.safetensors")))
        folder = try TemporaryFolder()
        #expect(
            try reason(["x.safetensors"], in: folder)
                == WeightFilesError.none(
                    folder: folder.file("m"), expected: "diffusion_pytorch_model.safetensors", files: ["x.safetensors"])
        )
        folder = try TemporaryFolder()
        #expect(
            try reason([], in: folder)
                == WeightFilesError.none(
                    folder: folder.file("m"), expected: "diffusion_pytorch_model.safetensors", files: []))
    }

    @Test(
        "names of weight files are taken apart",
        arguments: [
            ("model.safetensors", "", false), ("model.fp16.safetensors", "fp16", false),
            ("model-00001-of-00002.safetensors", "", true), ("model.fp16-00001-of-00002.safetensors", "fp16", true),
            ("model-00001-of-00002.fp16.safetensors", "fp16", true),
        ])
    func names(_ name: String, _ variant: String, _ isShard: Bool) throws {
        let found = try #require(WeightFileName(name, stem: "model"))
        #expect(found.variant == variant && found.isShard == isShard)
        #expect(WeightFileName("x" + name, stem: "model") == nil)
        #expect(WeightFileName("modelx" + name.dropFirst(5), stem: "model") == nil)
    }

    @Test(
        "names of shard indices are taken apart",
        arguments: [
            ("model.safetensors.index.json", ""), ("model.safetensors.index.fp16.json", "fp16"),
            ("model.fp16.safetensors.index.json", "fp16"), ("model.safetensors", nil), ("other.index.json", nil),
        ] as [(String, String?)])
    func indexNames(_ name: String, _ variant: String?) {
        #expect(WeightFileName.indexVariant(name, stem: "model") == variant)
    }
}
