// SPDX-License-Identifier: Apache-2.0
// LoRAs of `sample`: for all images, and by the prompts that name them.

import BitsFusion
import Foundation
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite struct AdaptedPromptTests {
    @Test("names of LoRAs are taken out of a prompt")
    func names() throws {
        let prompt = try AdaptedPrompt("a cat <lora:style:0.5>, red <lora:a b:-1><lora:plain>", folder: "loras")
        #expect(prompt.text == "a cat , red")
        #expect(
            prompt.loras == [
                LoRAReference(path: "loras/style.safetensors", weight: 0.5),
                LoRAReference(path: "loras/a b.safetensors", weight: -1),
                LoRAReference(path: "loras/plain.safetensors", weight: 1),
            ])
        let plain = try AdaptedPrompt(" a < b, <lora: c ", folder: ".")
        #expect(plain.text == " a < b, <lora: c " && plain.loras.isEmpty)
    }

    @Test(
        "wrong names and weights are usage errors",
        arguments: ["<lora:>", "<lora::1>", "<lora:a:b>", "<lora:a:1:2>", "<lora:a:inf>"])
    func wrong(tag: String) {
        let error = #expect(throws: CommandError.self) { try AdaptedPrompt("a cat \(tag)", folder: ".") }
        #expect(error?.category == .usage && error.map { "\($0)".contains(tag) } == true)
    }
}

@Suite struct SampleLoRATests {
    @Test("--lora and a prompt's own LoRA give the same image, other prompts stay without it", .slow)
    func images() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(seed: 3, hasText: true)
        try pipeline.writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        var random = Philox(seed: 1)
        var tensors: [String: Tensor] = [:]
        for layer in pipeline.denoiser.store.weightedLayers where layer.path.hasSuffix("to_q") {
            tensors["unet.\(layer.path).lora_A.weight"] = random.normal([4, layer.weight.shape[1]])
            tensors["unet.\(layer.path).lora_B.weight"] = random.normal([layer.weight.shape[0], 4])
        }
        _ = try folder.writeTensors("style.safetensors", tensors)
        func png(_ name: String, _ arguments: [String]) throws -> Data {
            let run = try folder.run(["sample", "model.h5", "--steps", "2", "--seed", "7", "-o", name] + arguments)
            try #require(run.status == 0, "\(run.errors)")
            return try Data(contentsOf: folder.url(name))
        }
        let (circle, tagged) = ("a red circle", "a red circle <lora:style:0.5>")
        let plain = try png("plain.png", ["--prompt", circle, "--columns", "1"])
        let common = try png(
            "common.png", ["--prompt", circle, "--columns", "1", "--lora", "style.safetensors=0.5"])
        #expect(plain != common)
        #expect(try png("own.png", ["--prompt", tagged, "--columns", "1"]) == common)
        func halves(_ prompts: [String]) throws -> [ArraySlice<UInt8>] {
            _ = try png("two.png", prompts.flatMap { ["--prompt", $0] } + ["--columns", "1"])
            let pixels = try ImageFile.read(folder.file("two.png")).interleaved
            return [pixels[..<(pixels.count / 2)], pixels[(pixels.count / 2)...]]
        }
        let (both, first, second) = (
            try halves([circle, circle]), try halves([tagged, circle]), try halves([circle, tagged])
        )
        #expect(first[0] != both[0] && first[1] == both[1])
        #expect(second[0] == both[0] && second[1] != both[1])
        let run = try folder.run("sample", "model.h5", "--prompt", "<lora:none> a red circle", "-o", "x.png")
        #expect(run.status == 66 && run.errors.contains("none.safetensors"))
        let usage = try folder.run("sample", "model.h5", "--prompt", "a red circle <lora:style:x>", "-o", "x.png")
        #expect(usage.status == 64 && usage.errors.contains("<lora:style:x>"))
    }
}
