// SPDX-License-Identifier: Apache-2.0
// A text-to-image model as people have it: a diffusers pipeline folder, the folder of one component, or a single
// safetensors file with the names of the original repositories (SingleFile/). All give the same: components by
// diffusers' names, each with its config.json and its tensors under the names of diffusers and transformers.

import Files
import Foundation

/// A pipeline in a folder or file, open for reading. No weights are read yet.
public struct PipelineSource: Sendable {
    /// What the pipeline was read from.
    public enum Layout: Equatable, Sendable {
        /// A folder with `model_index.json`, or with a folder `unet`.
        case pipelineFolder
        /// A folder with `config.json` and weights.
        case componentFolder
        /// A safetensors file with the names of the original repositories.
        case singleFile
    }

    public let layout: Layout
    /// The file or folder that was read.
    public let path: String
    /// The components in the order unet, vae, text_encoder, text_encoder_2; those that are there.
    public internal(set) var components: [SourceComponent]
    /// The text files of the tokenizers, by component (`tokenizer`, `tokenizer_2`), then by file name. For a single
    /// file these are `special_tokens_map.json` and `tokenizer_config.json` only: vocabulary and merges are those of
    /// CLIP.
    public let tokenizers: [String: [String: String]]
    /// The text of `scheduler_config.json`, if there is one.
    public let scheduler: String?
    /// The text of a CLIP model's `preprocessor_config.json`; nil for pipelines.
    public let preprocessor: String?
    /// The text of `model_index.json`, made up where there is none.
    public let modelIndex: String
    /// Every file that was read, for manifests.
    public internal(set) var files: [String]
    /// What was found and is not read.
    public let omitted: [OmittedPart]

    /// Opens a pipeline.
    ///
    /// - Parameters:
    ///   - path: a pipeline folder, a component folder, the folder of a CLIP model, a folder of the Hub's cache, or a
    ///     safetensors file.
    ///   - variant: which weights to take where there are several, such as "fp16"; components without this variant
    ///     give those without one, as in diffusers. Nil takes weights without a variant, then fp16.
    ///   - predictionType: `epsilon` or `v_prediction`, for single files; nil lets the weights decide.
    /// - Throws: `FileError` where the path does not exist or is another kind of file; `PipelineSourceError` for other
    ///   models; `WeightFilesError` where weights are not found; `SingleFileError`; `JSONError`; `SafetensorsError`.
    public init(_ path: String, variant: String? = nil, predictionType: String? = nil) throws {
        let kind = try FileInspection(path).kind
        if kind == .hdf5, let model = try? CheckpointReader(path, formats: CheckpointFormat.allCases) {
            throw PipelineSourceError.modelFile(path: path, format: model.format.rawValue)
        }
        if kind == .folder {
            guard predictionType == nil else { throw PipelineSourceError.predictionTypeOfFolder(path: path) }
            self = try Self.folder(Self.snapshot(in: path), variant: variant)
        } else {
            guard variant == nil else { throw PipelineSourceError.variantOfFile(path: path) }
            let file = try SingleFileCheckpoint(path, predictionType: predictionType)
            self.init(
                layout: .singleFile, path: path, components: file.components, tokenizers: file.tokenizers,
                scheduler: file.scheduler, modelIndex: file.modelIndex, files: [path], omitted: file.omitted)
        }
    }

    private init(
        layout: Layout, path: String, components: [SourceComponent], tokenizers: [String: [String: String]],
        scheduler: String?, preprocessor: String? = nil, modelIndex: String, files: [String], omitted: [OmittedPart]
    ) {
        self.layout = layout
        self.path = path
        self.components = components
        self.tokenizers = tokenizers
        self.scheduler = scheduler
        self.preprocessor = preprocessor
        self.modelIndex = modelIndex
        self.files = files
        self.omitted = omitted
    }

    /// The component called `name`.
    public func component(_ name: String) -> SourceComponent? { components.first { $0.name == name } }

    // MARK: Folders

    private static func folder(_ path: String, variant: String?) throws -> PipelineSource {
        let index = path + "/" + DiffusersName.modelIndex
        if try FilePresence(index).exists() {
            return try pipeline(path, TextDocument.object(index), [index], variant: variant)
        }
        if try FilePresence(path + "/" + DiffusersName.config).exists() { return try component(path, variant: variant) }
        if try FilePresence(path + "/unet/" + DiffusersName.config).exists() {
            return try pipeline(path, ("{}", .object([])), [], variant: variant)
        }
        throw reason(noModelIn: path)
    }

    private static func pipeline(
        _ path: String, _ index: (text: String, value: JSONValue), _ indexFiles: [String], variant: String?
    ) throws -> PipelineSource {
        let folder = try PipelineFolder(path, index: index.value, variant: variant)
        let modelIndex =
            folder.listsComponents
            ? index.text : ConfigText.modelIndex("StableDiffusionPipeline", folder.components)
        return PipelineSource(
            layout: .pipelineFolder, path: path, components: folder.components, tokenizers: folder.tokenizers,
            scheduler: folder.scheduler, modelIndex: modelIndex, files: indexFiles + folder.files,
            omitted: folder.omitted)
    }

    private static func component(_ path: String, variant: String?) throws -> PipelineSource {
        let (config, value) = try TextDocument.object(path + "/" + DiffusersName.config)
        let className = value["_class_name"]?.text ?? value["architectures"]?.elements?.first?.text
        let isCLIP = CLIPFolder.isCLIP(value, className: className)
        let name =
            switch className {
            case _ where isCLIP: CLIPFolder.component
            case let name? where name.hasPrefix("Autoencoder"): "vae"
            case let name? where name.hasPrefix("CLIPText"): "text_encoder"
            case let name? where name.contains("Transformer"): "transformer"
            default: "unet"
            }
        let weights = try PipelineFolder.weights(of: name, in: path, variant: variant, isAlone: true)
        let component = SourceComponent(
            name: name, className: className ?? (isCLIP ? "CLIPModel" : "UNet2DConditionModel"), config: config,
            tensors: try ComponentNames.current(weights.source, component: name))
        let clip = try isCLIP ? CLIPFolder(path) : nil
        // A component of a pipeline given by itself: the scheduler is in a folder beside it.
        let isInPipeline = try FilePresence(path + "/../" + DiffusersName.modelIndex).exists()
        let folders = name != "unet" ? [] : isInPipeline ? [path, path + "/.."] : [path]
        let scheduler = try folders.map { $0 + "/" + DiffusersName.scheduler }.first { try FilePresence($0).exists() }
        return PipelineSource(
            layout: .componentFolder, path: path, components: [component],
            tokenizers: clip.map { ["tokenizer": $0.tokenizer] } ?? [:],
            scheduler: try scheduler.map { path throws in try TextDocument.object(path).text },
            preprocessor: clip?.preprocessor,
            modelIndex: ConfigText.modelIndex("StableDiffusionPipeline", [component]),
            files: [path + "/" + DiffusersName.config] + weights.files + (clip?.files ?? [])
                + (scheduler.map { [$0] } ?? []), omitted: [])
    }

    /// The folder of files where `path` is a model's folder in the Hub's cache, else `path`.
    private static func snapshot(in path: String) throws -> String {
        let reference = path + "/refs/main"
        guard try FilePresence(path + "/snapshots").exists(), try FilePresence(reference).exists() else { return path }
        let revision = try TextDocument.text(reference).trimmingCharacters(in: .whitespacesAndNewlines)
        return path + "/snapshots/" + revision
    }

    private static func reason(noModelIn path: String) -> any Error {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted(by: byBytes)
        let files = names.filter { $0.hasSuffix(".safetensors") }
        if files.isEmpty { return FileError.wrongKind(path: path, expected: .diffusersFolder, found: .folder) }
        if case .lora(let file) = WeightFiles.reason(in: path, stem: DiffusersName.weights, asked: nil) {
            return WeightFilesError.lora(file: file)
        }
        return PipelineSourceError.noConfig(folder: path, files: files)
    }
}
