// SPDX-License-Identifier: Apache-2.0
// The parts of a diffusers pipeline folder (DiffusionPipeline.save_pretrained):
//
//     model_index.json                  {"_class_name": ..., "unet": ["diffusers", "UNet2DConditionModel"], ...}
//     unet/, vae/                       config.json, diffusion_pytorch_model*.safetensors
//     text_encoder/, text_encoder_2/    config.json, model*.safetensors
//     tokenizer/, tokenizer_2/          vocab.json, merges.txt, ...
//     scheduler/scheduler_config.json

import Files
import Foundation

/// A pipeline folder, read part by part.
struct PipelineFolder {
    private(set) var components: [SourceComponent] = []
    private(set) var tokenizers: [String: [String: String]] = [:]
    private(set) var scheduler: String?
    private(set) var files: [String] = []
    private(set) var omitted: [OmittedPart] = []
    /// Whether `model_index.json` names any component.
    let listsComponents: Bool

    private static let networks = ["unet", "vae", "text_encoder", "text_encoder_2"]
    static let defaultClasses = [
        "unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    ]
    private static let tokenizerNames = ["tokenizer", "tokenizer_2"]
    private static let tokenizerFiles = [
        "vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json",
    ]
    private static let reasons = [
        "safety_checker": "images are not filtered", "feature_extractor": "only the safety checker needs it",
        "image_encoder": "image prompts are not supported",
    ]

    /// Reads the folder `path`, whose components `index` names.
    init(_ path: String, index: JSONValue, variant: String?) throws {
        var classes: [String: String] = [:]
        var absent: Set<String> = []
        for member in index.members ?? [] where Self.isComponent(member.key, member.value) {
            if let name = member.value.elements?.last?.text {
                classes[member.key] = name
            } else {
                absent.insert(member.key)
            }
        }
        listsComponents = !classes.isEmpty
        if !listsComponents {
            for name in Self.networks where try FilePresence("\(path)/\(name)/\(DiffusersName.config)").exists() {
                classes[name] = Self.defaultClasses[name]
            }
        }
        try Self.checkKind(index, classes, absent, path)

        var foundVariant = variant == nil
        for name in Self.networks {
            guard let className = classes[name] else { continue }
            let folder = "\(path)/\(name)", configPath = folder + "/" + DiffusersName.config
            guard try FilePresence(configPath).exists() else {
                if name == "unet" { throw PipelineSourceError.missingComponent(path: configPath) }
                omitted.append(OmittedPart(name: name, reason: "\(configPath) is not there"))
                continue
            }
            let weights = try Self.weights(of: name, in: folder, variant: variant, isAlone: false)
            foundVariant = foundVariant || weights.variant == variant
            files += [configPath] + weights.files
            components.append(
                SourceComponent(
                    name: name, className: className, config: try TextDocument.object(configPath).text,
                    tensors: try ComponentNames.current(weights.source, component: name)))
        }
        if !foundVariant {
            throw WeightFiles.reason(in: path + "/unet", stem: DiffusersName.weights, asked: variant)
        }
        try readTexts(path, classes)
        for name in classes.keys.sorted(by: byBytes)
        where !Self.networks.contains(name) && !Self.tokenizerNames.contains(name) && name != "scheduler" {
            omitted.append(OmittedPart(name: name, reason: Self.reasons[name] ?? "prompts do not need it"))
        }
    }

    /// Whether a member of `model_index.json` is a component. Other members, such as "requires_safety_checker": false,
    /// are settings.
    static func isComponent(_ key: String, _ value: JSONValue) -> Bool {
        !key.hasPrefix("_") && value.elements?.count == 2
    }

    private mutating func readTexts(_ path: String, _ classes: [String: String]) throws {
        for name in Self.tokenizerNames where classes[name] != nil || !listsComponents {
            let (texts, paths) = try Self.tokenizer(in: "\(path)/\(name)")
            files += paths
            if !texts.isEmpty {
                tokenizers[name] = texts
            } else if classes[name] != nil {
                omitted.append(OmittedPart(name: name, reason: "\(path)/\(name) has no tokenizer files"))
            }
        }
        let schedulerPath = path + "/" + DiffusersName.scheduler
        if try FilePresence(schedulerPath).exists() {
            scheduler = try TextDocument.object(schedulerPath).text
            files.append(schedulerPath)
        }
    }

    /// The texts of the tokenizer files in `folder` by name, and the paths of these files.
    static func tokenizer(in folder: String) throws -> (texts: [String: String], files: [String]) {
        var texts: [String: String] = [:]
        var files: [String] = []
        for name in tokenizerFiles where try FilePresence(folder + "/" + name).exists() {
            texts[name] = try TextDocument.text(folder + "/" + name)
            files.append(folder + "/" + name)
        }
        return (texts, files)
    }

    /// Refuses pipelines of other kinds by name.
    private static func checkKind(
        _ index: JSONValue, _ classes: [String: String], _ absent: Set<String>, _ path: String
    ) throws(PipelineSourceError) {
        let name = index["_class_name"]?.text ?? "this pipeline"
        if classes["unet"] == nil {
            let denoiser = ["transformer", "prior", "decoder"].first { classes[$0] != nil }
            throw .noUNet(
                folder: path, pipeline: name, denoiser: denoiser.flatMap { classes[$0] })
        }
        if index["requires_aesthetics_score"] == .bool(true) {
            throw .otherPipeline(folder: path, pipeline: name, reason: "the SDXL refiner")
        }
        if let other = otherKinds.first(where: { kind in kind.names.contains { name.contains($0) } }) {
            throw .otherPipeline(folder: path, pipeline: name, reason: other.reason)
        }
        // Pipelines of any name are read if they consist of the components that are supported.
        for (component, supported) in supportedClasses.sorted(by: { byBytes($0.key, $1.key) }) {
            guard let found = classes[component], !supported.contains(found) else { continue }
            throw .otherPipeline(
                folder: path, pipeline: name,
                reason: "\(component): expected \(supported.joined(separator: " or ")), found \(found)")
        }
    }

    /// Parts of the names of pipelines that may have the same components, with another meaning.
    private static let otherKinds: [(names: [String], reason: String)] = [
        (["Upscale", "UnCLIP", "Depth2Img"], "its UNet has other inputs"),
        (["Audio", "Music"], "it generates sound"),
        (["Video", "AnimateDiff", "I2VGen"], "it generates videos"),
        (["LDM3D"], "its images have depth"),
        (["Marigold"], "it estimates depth and other properties of images"),
        (["ImageVariation", "PaintByExample", "Kandinsky"], "its prompts are images"),
        (["VersatileDiffusion", "UniDiffuser"], "it has several tasks"),
    ]

    /// The classes of components other than the denoiser, whose class `DenoiserRegistry` decides on.
    private static let supportedClasses = [
        "text_encoder": ["CLIPTextModel", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["CLIPTextModelWithProjection"], "vae": ["AutoencoderKL"],
    ]

    /// The weights of the component `name` in `folder`.
    ///
    /// - Parameters:
    ///   - name: the component.
    ///   - folder: its folder.
    ///   - variant: the variant that was asked for.
    ///   - isAlone: whether this is the only component, which then must have the variant.
    /// - Returns: the open weights.
    /// - Throws: as `WeightFiles.open`.
    static func weights(
        of name: String, in folder: String, variant: String?, isAlone: Bool
    ) throws -> WeightFiles {
        let variants = variant.map { isAlone ? [$0] : [$0, ""] } ?? ["", "fp16"]
        return try WeightFiles.open(
            in: folder, stem: DiffusersName.weightsStem(of: name), variants: variants, asked: variant)
    }
}
