// SPDX-License-Identifier: Apache-2.0
// A CLIP model with its tokenizer and its image processor, which a file of format `bitsfusion-clip` contains.
// K images or texts, T tokens, P projection size.

import Checkpoints
import Files
import Foundation
import Images
import Layers
import Networks
import Tensors
import Tokenizers

/// Encodes images and texts as vectors of one space.
public final class ImageTextEncoder {
    public let model: CLIPModel
    public let tokenizer: CLIPTokenizer
    public let processor: CLIPImageProcessor

    /// The name of the tokenizer's files in a model file.
    static let tokenizerComponent = "tokenizer"

    /// The number of images or texts that are encoded at once, which bounds the memory of activations.
    private static let chunk = 16

    /// Reads an encoder from a file that `PipelineSource.writeModel` wrote of a CLIP folder.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - precision: how weights are held.
    /// - Throws: `FileError`; `HDF5Error` for a file that is damaged or of another architecture;
    ///   `CheckpointError.diffusionModel` and others; `ConfigError`, `ParameterError`, `TokenizerError`.
    public convenience init(contentsOf path: String, precision: WeightPrecision = .keep16Bit) throws {
        try self.init(CheckpointReader(path, formats: [.clip]), precision: precision)
    }

    /// Reads an encoder from an open checkpoint.
    ///
    /// - Precondition: the checkpoint's format is `.clip`.
    /// - Throws: as `init(contentsOf:precision:)`.
    public convenience init(_ reader: CheckpointReader, precision: WeightPrecision = .keep16Bit) throws {
        try reader.require(architecture: CLIPConfig.architecture)
        guard let preprocessor = reader.header.preprocessor else {
            throw HDF5Error.object(file: reader.path, object: "/header/preprocessor", fault: .missing)
        }
        let config = try CLIPConfig(json: Data(reader.header.config.utf8))
        let parameters = try CheckpointParameters(reader, precision: precision)
        let model = try CLIPModel(config: config, parameters: ParameterPath(ParameterStore(provider: parameters)))
        try parameters.checkAllUsed()
        try self.init(
            model, tokenizerTexts: reader.header.tokenizers[Self.tokenizerComponent] ?? [:],
            preprocessor: preprocessor)
        model.store.setTrainable(false)
    }

    /// An encoder of these parts.
    ///
    /// - Parameters:
    ///   - model: the model, with or without values.
    ///   - tokenizerTexts: the texts of the tokenizer's files by name.
    ///   - preprocessor: the text of `preprocessor_config.json`.
    /// - Throws: `ConfigError.inDocument`; `TokenizerError`, such as `.vocabulary` where tokenizer and model do not
    ///   belong together.
    init(_ model: CLIPModel, tokenizerTexts: [String: String], preprocessor: String) throws {
        self.model = model
        let config = model.config
        do {
            processor = try CLIPImageProcessor(
                json: Data(preprocessor.utf8), imageSize: config.visionConfig.imageSize)
        } catch {
            throw ConfigError.inDocument("preprocessor_config.json", error)
        }
        tokenizer = try CLIPTokenizer(
            files: TokenizerFiles(tokenizerTexts), maxPositionEmbeddings: config.textConfig.maxPositionEmbeddings)
        guard tokenizer.vocabSize <= config.textConfig.vocabSize else {
            throw TokenizerError.vocabulary(
                name: CLIPTokenizer.name, expected: tokenizer.vocabSize, found: config.textConfig.vocabSize)
        }
    }

    /// The projected features of images, not normalized, without gradients.
    ///
    /// - Parameter images: K images of any sizes, at least one.
    /// - Returns: `[K, P]`.
    public func imageFeatures(_ images: [RGBImage]) -> Tensor {
        chunked(images) { model.imageFeatures(processor($0)) }
    }

    /// The projected features of texts, not normalized, without gradients.
    ///
    /// - Parameter texts: K texts, at least one.
    /// - Returns: `[K, P]`. The features of a text with more than T - 2 tokens are those of the start token, as in
    ///   torchmetrics, see `isTruncated(_:)`.
    /// - Throws: `TokenizerError.unrepresentable`.
    public func textFeatures(_ texts: [String]) throws -> Tensor {
        let rows = try texts.map { try ids(of: $0) }
        return chunked(rows) { rows in model.textFeatures(Array(rows.joined()), batch: rows.count) }
    }

    /// Whether `text` has more than T - 2 tokens. torchmetrics cuts off all ids after the first T, and with them the
    /// end token, whose features are those of the text. transformers then pools the first position.
    ///
    /// - Throws: as `textFeatures`.
    public func isTruncated(_ text: String) throws -> Bool {
        try tokenizer.textIDs(text).count > model.config.textConfig.maxPositionEmbeddings - 2
    }

    /// The T ids of `text`: start token, text, end token, cut off or padded.
    private func ids(of text: String) throws -> [Int32] {
        let length = model.config.textConfig.maxPositionEmbeddings
        let all = try [tokenizer.bosTokenId] + tokenizer.textIDs(text) + [tokenizer.eosTokenId]
        return Array(all.prefix(length)) + Array(repeating: tokenizer.padTokenId, count: max(length - all.count, 0))
    }

    private func chunked<Element>(_ elements: [Element], _ encode: ([Element]) -> Tensor) -> Tensor {
        precondition(!elements.isEmpty, "image-text encoder: nothing to encode")
        let parts = stride(from: 0, to: elements.count, by: Self.chunk).map { start in
            withoutGradients { encode(Array(elements[start..<min(start + Self.chunk, elements.count)])) }
        }
        return parts.count == 1 ? parts[0] : .concatenated(parts, axis: 0)
    }
}

extension PipelineSource {
    /// Checks config, names, shapes, tokenizer and image processor of a CLIP model, and describes it.
    func clipHeader(_ clip: SourceComponent, manifest: String) throws -> CheckpointHeader {
        let model = try Self.reading(clip) { try CLIPConfig(json: Data($0.utf8)).skeleton() }
        try model.store.checkTensors(of: clip.tensors)
        let texts = tokenizers[ImageTextEncoder.tokenizerComponent] ?? [:]
        guard texts["vocab.json"] != nil || texts["tokenizer.json"] != nil else {
            throw PipelineError.missingComponent(name: "vocab.json", neededBy: "the text model of CLIP")
        }
        _ = try ImageTextEncoder(model, tokenizerTexts: texts, preprocessor: preprocessor ?? "{}")
        return CheckpointHeader(
            format: .clip, architecture: CLIPConfig.architecture, component: clip.name,
            configs: [clip.name: clip.config], manifest: manifest, scheduler: nil, preprocessor: preprocessor,
            tokenizer: nil,
            tokenizers: [ImageTextEncoder.tokenizerComponent: TokenizerFiles(texts).texts])
    }
}
