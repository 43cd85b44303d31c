// SPDX-License-Identifier: Apache-2.0
// LoRAs of all formats, merged as diffusers merges them. Fixture: python Tests/Fixtures/make_lora_fixtures.py
// (diffusers 0.42.1, load_lora_weights and fuse_lora).

import Files
import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct LoRATests {
    private struct Layer: Decodable {
        let rank: Int
        let alpha: Float
        let weight: [Float]
    }

    private typealias Case = [String: [String: Layer]]

    /// How a format writes one layer: names and values.
    private typealias Format = (_ component: String, _ layer: String, _ matrices: Matrices) -> [String: Tensor]

    private struct Matrices {
        let down: Tensor
        let up: Tensor
        let rank: Int
        let alpha: Float
        /// `up` for formats without an alpha.
        var scaledUp: Tensor { Tensor(up.values.map { $0 * (alpha / Float(rank)) }, shape: up.shape) }
    }

    private static func matrices(_ component: String, _ layer: String, _ rank: Int, _ alpha: Float, _ shape: [Int])
        -> Matrices
    {
        let downShape = [rank] + shape.dropFirst(), upShape = [shape[0], rank] + shape.dropFirst(2).map { _ in 1 }
        return Matrices(
            down: Tensor(fixtureUniform("down.\(component).\(layer)", downShape), shape: downShape),
            up: Tensor(fixtureUniform("up.\(component).\(layer)", upShape), shape: upShape), rank: rank, alpha: alpha)
    }

    private static func kohya(_ component: String, _ layer: String, _ matrices: Matrices) -> [String: Tensor] {
        let prefixes = ["unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"]
        return flat(prefixes, component, layer, matrices)
    }

    private static func flat(
        _ prefixes: [String: String], _ component: String, _ layer: String, _ matrices: Matrices
    ) -> [String: Tensor] {
        let name = (prefixes[component] ?? "") + layer.replacingOccurrences(of: ".", with: "_")
        return [
            name + ".lora_down.weight": matrices.down, name + ".lora_up.weight": matrices.up,
            name + ".alpha": Tensor([matrices.alpha], shape: []),
        ]
    }

    private static func original(_ component: String, _ layer: String, _ matrices: Matrices) -> [String: Tensor] {
        let name = component == "unet" ? LDMUNetNames(layersPerBlock: 1).original(layer) { $0 < 2 } : layer
        let prefixes = ["unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"]
        return flat(prefixes, component, name ?? "none", matrices)
    }

    private static func peft(_ prefix: String, _ infix: String = "") -> Format {
        { component, layer, matrices in
            [
                "\(prefix)\(component).\(layer).lora_A\(infix).weight": matrices.down,
                "\(prefix)\(component).\(layer).lora_B\(infix).weight": matrices.scaledUp,
            ]
        }
    }

    private static func former(_ component: String, _ layer: String, _ matrices: Matrices) -> [String: Tensor] {
        var name = "\(component).\(layer).lora."
        if component != "unet" {
            name = "\(component).\(layer).lora_linear_layer."
        } else if layer.contains(".attn") {
            let parts = layer.replacingOccurrences(of: ".to_out.0", with: ".to_out").split(separator: ".")
            name = "unet.\(parts.dropLast().joined(separator: ".")).processor.\(parts[parts.count - 1])_lora."
        }
        return [name + "down.weight": matrices.down, name + "up.weight": matrices.scaledUp]
    }

    private static func cases() throws -> [String: Case] { try fixture("lora", in: .module) }

    private func source(_ pipeline: TinyPipeline, _ folder: TemporaryFolder, as type: StorageType = .float32) throws
        -> PipelineSource
    {
        try PipelineSource(try pipeline.writeFolder(folder, pipeline.name, as: type))
    }

    private func weight(_ source: PipelineSource, _ component: String, _ layer: String) throws -> Tensor {
        try #require(source.component(component)).tensors.tensor(layer + ".weight")
    }

    @Test("merged weights are those of diffusers, in every format of names")
    func formats() throws {
        let folder = try TemporaryFolder()
        let formats: [(String, [(String, Format)])] = [
            (
                "sd1",
                [
                    ("kohya", Self.kohya), ("PEFT", Self.peft("")), ("PEFT", Self.peft("base_model.model.")),
                    ("PEFT with a name", Self.peft("", ".default")), ("old diffusers", Self.former),
                ]
            ),
            ("convolution", [("kohya", Self.kohya), ("PEFT", Self.peft(""))]),
            ("sdxl", [("original names", Self.original), ("kohya", Self.kohya), ("PEFT", Self.peft(""))]),
        ]
        let cases = try Self.cases()
        for (name, formats) in formats {
            let model = try source(name == "sdxl" ? .sdxl : .sd1, folder)
            for (format, write) in formats {
                var tensors: [String: Tensor] = [:]
                for (component, layers) in try #require(cases[name]) {
                    for (layer, entry) in layers {
                        let shape = try weight(model, component, layer).shape
                        let matrices = Self.matrices(component, layer, entry.rank, entry.alpha, shape)
                        tensors.merge(write(component, layer, matrices)) { $1 }
                    }
                }
                let file = try folder.writeTensors("lora.safetensors", tensors)
                let merged = try model.merging([LoRA(file, weight: 0.75)])
                #expect(merged.files == model.files + [file])
                for (component, layers) in try #require(cases[name]) {
                    for (layer, entry) in layers {
                        let found = try weight(merged, component, layer).values
                        #expect(found.count == entry.weight.count)
                        let error = zip(found, entry.weight).map { abs($0 - $1) }.max() ?? .infinity
                        #expect(error < 2e-6, "\(name), \(format): \(component).\(layer)")
                    }
                }
                let untouched = "conv_out"
                #expect(
                    try weight(merged, "unet", untouched).values == weight(model, "unet", untouched).values)
            }
        }
    }

    /// W + scale · up · down, element by element in Double.
    private func expected(_ weight: Tensor, _ up: Tensor, _ down: Tensor, scale: Double) -> [Double] {
        let rank = down.shape[0], columns = down.count / rank
        return weight.values.enumerated().map { index, value in
            let (row, column) = (index / columns, index % columns)
            let sum = (0..<rank).reduce(0.0) {
                $0 + Double(up.values[row * rank + $1]) * Double(down.values[$1 * columns + column])
            }
            return Double(value) + scale * sum
        }
    }

    @Test(
        "several LoRAs with different ranks add up; the result has the type of the weights",
        arguments: [StorageType.float16, .bfloat16])
    func several(_ type: StorageType) throws {
        let folder = try TemporaryFolder()
        let model = try source(.sd1, folder, as: type)
        let layer = "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_v"
        let before = try weight(model, "unet", layer)
        var loras: [LoRA] = []
        var sum = before.values.map(Double.init)
        for (index, factor) in [Float(0.5), -1.25].enumerated() {
            let matrices = Self.matrices("unet", "\(index)", index + 1, 3, before.shape)
            var tensors = Self.kohya("unet", layer, matrices)
            if index == 1 { for key in tensors.keys where key.hasSuffix(".alpha") { tensors[key] = nil } }
            loras.append(try LoRA(try folder.writeTensors("\(index).safetensors", tensors), weight: factor))
            let scale = Double(factor) * (index == 0 ? 3 : 1)
            let zero = Tensor([Float](repeating: 0, count: before.count), shape: before.shape)
            sum = zip(sum, expected(zero, matrices.up, matrices.down, scale: scale)).map { $0 + $1 }
        }
        let merged = try model.merging(loras)
        #expect(merged.component("unet")?.tensors.stored(layer + ".weight")?.type == type)
        let found = try weight(merged, "unet", layer).values
        let rounding = type == .float16 ? 0x1p-11 : 0x1p-8
        for (found, wanted) in zip(found, sum) {
            #expect(abs(Double(found) - wanted) <= rounding * abs(wanted) + 1e-6)
        }
    }

    @Test("a middle matrix (Tucker decomposition) stands between up and down")
    func middle() throws {
        let folder = try TemporaryFolder()
        let model = try source(.sd1, folder)
        let layer = "down_blocks.0.resnets.0.conv2", name = "lora_unet_down_blocks_0_resnets_0_conv2"
        let before = try weight(model, "unet", layer)
        let (outputs, inputs) = (before.shape[0], before.shape[1])
        let up = Tensor(fixtureUniform("up", [outputs, 3]), shape: [outputs, 3, 1, 1])
        let middle = Tensor(fixtureUniform("middle", [3, 2, 3, 3]), shape: [3, 2, 3, 3])
        let down = Tensor(fixtureUniform("down", [2, inputs]), shape: [2, inputs, 1, 1])
        let file = try folder.writeTensors(
            "lora.safetensors",
            [
                name + ".lora_up.weight": up, name + ".lora_mid.weight": middle, name + ".lora_down.weight": down,
                name + ".alpha": Tensor([1], shape: []),
            ])
        let found = try weight(try model.merging([LoRA(file)]), "unet", layer).values
        for (index, value) in found.enumerated() {
            let (output, input, position) = (index / (inputs * 9), index / 9 % inputs, index % 9)
            var sum = 0.0
            for a in 0..<3 {
                for b in 0..<2 {
                    let outer = Double(up.values[output * 3 + a]) * Double(down.values[b * inputs + input])
                    sum += outer * Double(middle.values[(a * 2 + b) * 9 + position])
                }
            }
            #expect(abs(Double(value) - Double(before.values[index]) - sum / 2) < 1e-6)
        }
    }

    @Test("PEFT's alpha comes from the metadata of diffusers, or from adapter_config.json")
    func peftAlpha() throws {
        let folder = try TemporaryFolder()
        let model = try source(.sd1, folder)
        let layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
        let before = try weight(model, "unet", layer)
        let matrices = Self.matrices("unet", layer, 4, 4, before.shape)
        let tensors = ["lora_A": matrices.down, "lora_B": matrices.up]

        func check(_ path: String, scale: Double, files: Int, _ place: SourceLocation = #_sourceLocation) throws {
            let lora = try LoRA(path)
            #expect(lora.files.count == files, sourceLocation: place)
            let found = try weight(try model.merging([lora]), "unet", layer).values
            for (found, wanted) in zip(found, expected(before, matrices.up, matrices.down, scale: scale)) {
                #expect(abs(Double(found) - wanted) < 2e-6, sourceLocation: place)
            }
        }

        let names = Dictionary(
            uniqueKeysWithValues: tensors.map { ("base_model.model.\(layer).\($0.key).weight", $0.value) })
        try folder.writeTensors("peft/adapter_model.safetensors", names)
        try check(folder.file("peft"), scale: 1, files: 1)
        try folder.write("peft/adapter_config.json", "{\"r\": 4, \"lora_alpha\": 2}")
        try check(folder.file("peft"), scale: 0.5, files: 2)
        try folder.write("peft/adapter_config.json", "{\"lora_alpha\": 2, \"use_rslora\": true}")
        try check(folder.file("peft"), scale: 1, files: 2)
        try folder.write("peft/adapter_config.json", "{\"lora_alpha\": 2, \"alpha_pattern\": {\"attn1.to_k\": 8}}")
        try check(folder.file("peft"), scale: 2, files: 2)
        try folder.write("peft/adapter_config.json", "{\"use_dora\": true}")
        #expect(
            throws: LoRAError.unsupported(
                file: folder.file("peft/adapter_config.json"), format: "DoRA", key: "use_dora")
        ) { try LoRA(folder.file("peft")) }
    }

    @Test("tensors of layers that the model does not have are an error that lists them, as of components not there")
    func unmatched() throws {
        let folder = try TemporaryFolder()
        let unet = try #require(TinyPipeline.sd1.part("unet"))
        try unet.writeFolder(folder, "unet")
        let model = try PipelineSource(folder.file("unet"))
        let one = Tensor([1], shape: [1, 1])
        let keys = [
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
            "lora_unet_down_blocks_9_x.alpha", "lora_unet_down_blocks_9_x.lora_down.weight",
            "lora_unet_down_blocks_9_x.lora_up.weight",
        ]
        let file = try folder.writeTensors(
            "lora.safetensors", Dictionary(uniqueKeysWithValues: keys.map { ($0, one) }))
        let lora = try LoRA(file)
        #expect(throws: LoRAError.unmatched(file: file, keys: keys)) { try model.merging([lora]) }
        let other = try folder.writeTensors(
            "other.safetensors", ["a.lora_up.weight": one, "a.lora_down.weight": one, "foreign": one])
        #expect(throws: LoRAError.unmatched(file: other, keys: ["foreign"])) { try LoRA(other) }
    }

    @Test(
        "other adapters are refused by name",
        arguments: [
            ("dora_scale", "DoRA"), ("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("oft_diag", "OFT"),
            ("diff", "a LyCORIS adapter of whole weights"), ("on_input", "IA3"),
        ])
    func otherAdapters(_ suffix: String, _ format: String) throws {
        let folder = try TemporaryFolder()
        let key = "lora_unet_mid_block_x." + suffix
        let path = try folder.writeTensors("lora.safetensors", [key: Tensor([1], shape: [1, 1])])
        #expect(throws: LoRAError.unsupported(file: path, format: format, key: key)) { try LoRA(path) }
    }

    @Test("damaged LoRAs say which layer and why")
    func damaged() throws {
        let folder = try TemporaryFolder()
        let model = try source(.sd1, folder)
        let one = Tensor([1], shape: [1, 1])
        func file(_ tensors: [String: Tensor]) throws -> String { try folder.writeTensors("l.safetensors", tensors) }
        let path = folder.file("l.safetensors")

        _ = try file(["x": one])
        #expect(throws: LoRAError.notLoRA(file: path, keys: ["x"])) { try LoRA(path) }
        _ = try file(["a.lora_A.weight": one])
        #expect(throws: LoRAError.incomplete(file: path, layer: "a", missing: "up matrix (lora_up, lora_B)")) {
            try LoRA(path)
        }
        let name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
        let down = Tensor([Float](repeating: 1, count: 32), shape: [2, 16])
        let up = Tensor([Float](repeating: 1, count: 24), shape: [8, 3])
        _ = try file([name + ".lora_A.weight": down, name + ".lora_B.weight": up])
        #expect(throws: LoRAError.shape(file: path, layer: name, weight: [16, 16], up: [8, 3], down: [2, 16])) {
            try model.merging([LoRA(path)])
        }
        let fits = Tensor([Float](repeating: 1, count: 32), shape: [16, 2])
        let parts = [name + ".lora_A.weight": down, name + ".lora_B.weight": fits]
        _ = try file(parts.merging([name + ".alpha": Tensor([1, 2], shape: [2])]) { $1 })
        #expect(throws: LoRAError.alpha(file: path, layer: name)) { try model.merging([LoRA(path)]) }
        _ = try file(parts)
        #expect(throws: LoRAError.weight(file: path)) { try LoRA(path, weight: .nan) }
        let flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        _ = try file(parts.merging([flat + ".lora_down.weight": down, flat + ".lora_up.weight": fits]) { $1 })
        #expect(throws: LoRAError.duplicate(file: path, layer: name, key: String(name.dropFirst(5)) + ".weight")) {
            try model.merging([LoRA(path)])
        }
        #expect(throws: FileError.missingFile(path: folder.file("none"))) { try LoRA(folder.file("none")) }
    }
}
