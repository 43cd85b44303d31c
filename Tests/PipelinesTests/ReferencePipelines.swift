// SPDX-License-Identifier: Apache-2.0
// The tiny pipelines and reference images of diffusers in Fixtures/pipelines; see the README there.

import Checkpoints
import Files
import Foundation
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Pipelines

/// A case of `manifest.json`: the arguments of a diffusers pipeline, and where its images are.
struct ReferenceCase: Sendable, CustomTestStringConvertible {
    let name, pipeline: String
    let prompts: [String]
    let negativePrompt: String?
    let seeds: [UInt64]
    let steps: Int
    let guidanceScale: Float
    let guidanceRescale: Float?
    let imageGuidanceScale: Float?
    let clipSkip: Int?
    let strength: Double?
    let image, maskImage: String?
    /// A LoRA file and its weight.
    let lora: String?
    let loraWeight: Double
    let width, height: Int?
    let schedulerClass: String?
    let schedulerKeys: JSONValue
    let reference, tensor: String

    var testDescription: String { name }

    static let all: [ReferenceCase] = {
        do {
            let data = try Data(contentsOf: URL(filePath: ReferencePipelines.folder + "/manifest.json"))
            let json = try JSONValue(parsing: data, name: "manifest.json")
            return (json["cases"]?.elements ?? []).map(ReferenceCase.init)
        } catch {
            preconditionFailure("manifest.json: \(error)")
        }
    }()

    private init(_ json: JSONValue) {
        func number(_ key: String) -> Double? { json[key]?.double }
        func text(_ key: String) -> String? { json[key]?.text }
        name = text("name") ?? ""
        pipeline = text("pipeline") ?? ""
        prompts = (json["prompts"]?.elements ?? []).compactMap(\.text)
        negativePrompt = text("negative_prompt")
        seeds = (json["seeds"]?.elements ?? []).compactMap(\.double).map { UInt64($0) }
        steps = number("steps").map { Int($0) } ?? 0
        guidanceScale = Float(number("guidance_scale") ?? 7.5)
        guidanceRescale = number("guidance_rescale").map { Float($0) }
        imageGuidanceScale = number("image_guidance_scale").map { Float($0) }
        clipSkip = number("clip_skip").map { Int($0) }
        strength = number("strength")
        (image, maskImage) = (text("image"), text("mask_image"))
        (lora, loraWeight) = (text("lora"), number("lora_weight") ?? 1)
        (width, height) = (number("width").map { Int($0) }, number("height").map { Int($0) })
        schedulerClass = text("scheduler_class")
        schedulerKeys = json["scheduler_keys"] ?? .object([])
        (reference, tensor) = (text("reference") ?? "", text("tensor") ?? "")
    }

    /// The expected images, `[N, H, W, 3]` flat.
    func images() throws -> [UInt8] {
        try SafetensorsReader(ReferencePipelines.folder + "/" + reference).bytes(tensor)
    }
}

enum ReferencePipelines {
    static let folder = Bundle.module.path(forResource: "Fixtures", ofType: nil).map { $0 + "/pipelines" } ?? ""
    static let kinds = ["sd1", "sd2", "sd2-v", "sdxl", "inpaint", "pix2pix"]

    /// The folder of a kind, imported to a model file in `temporary`.
    static func imported(_ kind: String, in temporary: TemporaryFolder) throws -> String {
        let path = temporary.file(kind + ".h5")
        try PipelineSource(folder + "/" + kind).writeModel(to: path, manifest: TinyModel.manifest)
        return path
    }
}
