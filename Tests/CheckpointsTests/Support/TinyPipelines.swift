// SPDX-License-Identifier: Apache-2.0
// Tiny pipelines as folders and as single files. Fixture: python Tests/Fixtures/make_single_file_fixtures.py, which
// checks with diffusers' converters that both are the same.

import Files
import Foundation
import Tensors
import TestKit

@testable import Checkpoints

/// One network of the fixture: what a folder stores, and how a single file stores the same.
struct TinyNetwork: Decodable {
    /// How a tensor of a single file is made of those of diffusers.
    struct Step: Decodable {
        let what: String
        let keys: [String]

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            what = try container.decode(String.self)
            keys = try container.decode([String].self)
        }

        init(what: String, keys: [String]) {
            self.what = what
            self.keys = keys
        }
    }

    let config: JSONValue
    var tensors: [String: [Int]]
    var stored: [String: Step]

    static let all: [String: TinyNetwork] = {
        do {
            return try fixture("single-file", in: .module)
        } catch {
            fatalError("single-file.json: \(error)")
        }
    }()
}

/// A pipeline made of tiny networks.
struct TinyPipeline: CustomStringConvertible {
    struct Part {
        let name: String
        let className: String
        /// What the names in a single file begin with.
        let prefix: String
        var network: TinyNetwork
    }

    let name: String
    let className: String
    let parts: [Part]
    var description: String { name }

    static let sd1 = TinyPipeline("sd1", "StableDiffusionPipeline", inChannels: 4)
    static let inpainting = TinyPipeline("inpainting", "StableDiffusionInpaintPipeline", inChannels: 9)
    static let pix2pix = TinyPipeline("pix2pix", "StableDiffusionInstructPix2PixPipeline", inChannels: 8)

    static let sd2: TinyPipeline = {
        var unet = network("unet_linear")
        unet.tensors = unet.tensors.filter { !$0.key.hasPrefix("add_embedding.") }
        unet.stored = unet.stored.filter { !$0.key.hasPrefix("label_emb.") }
        var text = network("open_clip")
        text.tensors["text_projection.weight"] = nil
        text.stored["text_projection"] = nil
        return TinyPipeline(
            name: "sd2", className: "StableDiffusionPipeline",
            parts: [
                Part(
                    name: "unet", className: "UNet2DConditionModel", prefix: "model.diffusion_model.", network: unet),
                vae,
                Part(
                    name: "text_encoder", className: "CLIPTextModel", prefix: "cond_stage_model.model.",
                    network: text),
            ])
    }()

    static let sdxl = TinyPipeline(
        name: "sdxl", className: "StableDiffusionXLPipeline",
        parts: [
            Part(
                name: "unet", className: "UNet2DConditionModel", prefix: "model.diffusion_model.",
                network: network("unet_linear")), vae,
            Part(
                name: "text_encoder", className: "CLIPTextModel", prefix: "conditioner.embedders.0.transformer.",
                network: network("clip")),
            Part(
                name: "text_encoder_2", className: "CLIPTextModelWithProjection",
                prefix: "conditioner.embedders.1.model.", network: network("open_clip")),
        ])

    static let all = [sd1, sd2, sdxl, inpainting, pix2pix]

    private static let vae = Part(
        name: "vae", className: "AutoencoderKL", prefix: "first_stage_model.", network: network("vae"))

    private static func network(_ name: String) -> TinyNetwork {
        guard let network = TinyNetwork.all[name] else { fatalError("single-file.json: no \(name)") }
        return network
    }

    private init(name: String, className: String, parts: [Part]) {
        self.name = name
        self.className = className
        self.parts = parts
    }

    private init(_ name: String, _ className: String, inChannels: Int) {
        var unet = Self.network("unet_conv")
        unet.tensors["conv_in.weight"]?[1] = inChannels
        self.init(
            name: name, className: className,
            parts: [
                Part(
                    name: "unet", className: "UNet2DConditionModel", prefix: "model.diffusion_model.", network: unet),
                Self.vae,
                Part(
                    name: "text_encoder", className: "CLIPTextModel", prefix: "cond_stage_model.transformer.",
                    network: Self.network("clip")),
            ])
    }

    func part(_ name: String) -> Part? { parts.first { $0.name == name } }

    /// The tensors of a single file.
    func singleFile() -> [String: Tensor] {
        var result: [String: Tensor] = [:]
        for part in parts {
            for (name, step) in part.network.stored { result[part.prefix + name] = part.made(step) }
        }
        return result
    }

    /// Writes a pipeline folder.
    func writeFolder(_ folder: TemporaryFolder, _ name: String, as type: StorageType = .float32) throws -> String {
        var index = ["\"_class_name\": \"\(className)\""]
        for part in parts {
            let library = part.name.hasPrefix("text") ? "transformers" : "diffusers"
            index.append("\"\(part.name)\": [\"\(library)\", \"\(part.className)\"]")
            try part.writeFolder(folder, "\(name)/\(part.name)", as: type)
        }
        try folder.write("\(name)/model_index.json", "{" + index.joined(separator: ", ") + "}")
        return folder.file(name)
    }
}

extension TinyPipeline.Part {
    /// The value of a tensor in diffusers' names.
    func value(_ key: String) -> Tensor {
        let shape = network.tensors[key] ?? []
        return Tensor(fixtureUniform("\(name).\(key)", shape), shape: shape)
    }

    var weights: [String: Tensor] {
        Dictionary(uniqueKeysWithValues: network.tensors.keys.map { ($0, value($0)) })
    }

    fileprivate func made(_ step: TinyNetwork.Step) -> Tensor {
        let values = step.keys.map { value($0) }
        switch step.what {
        case "kernel": return values[0].reshaped(values[0].shape + [1, 1])
        case "rows":
            let rows = values.reduce(0) { $0 + $1.shape[0] }
            return Tensor(values.flatMap(\.values), shape: [rows] + values[0].shape.dropFirst())
        case "transpose": return values[0].permuted([1, 0])
        default: return values[0]
        }
    }

    var stem: String { name.hasPrefix("text") ? "model" : "diffusion_pytorch_model" }

    /// The text of the folder's config.json.
    var configText: String {
        var config = network.config.description
        if config.contains("\"_class_name\"") { return config }
        config.removeFirst()
        return "{\"_class_name\": \"\(className)\", " + config
    }

    /// Writes a component folder.
    func writeFolder(
        _ folder: TemporaryFolder, _ path: String, as type: StorageType = .float32, variant: String = ""
    ) throws {
        try folder.write(path + "/config.json", configText)
        let infix = variant.isEmpty ? "" : "." + variant
        try folder.writeTensors("\(path)/\(stem)\(infix).safetensors", weights, as: type)
    }
}

/// Shapes without elements.
final class ShapeSource: TensorSource {
    let path = "shapes"
    let keys: [String]
    private let shapes: [String: [Int]]

    init(_ shapes: [String: [Int]]) {
        self.shapes = shapes
        keys = shapes.keys.sorted(by: byBytes)
    }

    func stored(_ key: String) -> StoredTensor? { shapes[key].map { StoredTensor(type: .float16, shape: $0) } }
    func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws { preconditionFailure("no elements") }
}
