// SPDX-License-Identifier: Apache-2.0
// A text encoder of a pipeline with its tokenizer. diffusers' pipelines have one, `text_encoder`, or two as Stable
// Diffusion XL: `text_encoder` and, with a projection of its pooled output, `text_encoder_2`.

import Checkpoints
import Foundation
import Layers
import Networks
import Tensors
import Tokenizers

/// CLIP's text encoder under the name of its component.
public final class TextEncoder {
    /// The name in diffusers' model_index.json: `text_encoder` or `text_encoder_2`.
    public let name: String
    /// The encoder without its projection.
    public let model: CLIPTextModel
    /// The encoder with its projection; nil for `text_encoder`, which has none.
    public let projected: CLIPTextModelWithProjection?
    /// The tokenizer; nil where it is not registered.
    public let tokenizer: (any Tokenizer)?
    /// The name of the tokenizer, registered or not.
    public let tokenizerName: String
    /// The files that the tokenizer was made from; nil for a tokenizer that the program registers by name.
    public let tokenizerFiles: TokenizerFiles?

    /// Component names in the order of diffusers' pipelines.
    public static let names = [CheckpointHeader.textEncoder, CheckpointHeader.textEncoder + "_2"]

    /// The name of the tokenizer's component that belongs to the text encoder `name`.
    public static func tokenizerComponent(of name: String) -> String {
        name.replacingOccurrences(of: CheckpointHeader.textEncoder, with: "tokenizer")
    }

    /// An encoder with a tokenizer that is registered by name.
    ///
    /// - Throws: `TokenizerError.length`, `.vocabulary` where tokenizer and encoder do not belong together.
    public convenience init(_ model: CLIPTextModel, tokenizerName: String) throws {
        try self.init(CheckpointHeader.textEncoder, model, nil, tokenizerName: tokenizerName, files: nil)
    }

    init(
        _ name: String, _ model: CLIPTextModel, _ projected: CLIPTextModelWithProjection?, tokenizerName: String,
        files: TokenizerFiles?
    ) throws {
        self.name = name
        self.model = model
        self.projected = projected
        self.tokenizerName = tokenizerName
        tokenizerFiles = files
        let length = model.config.maxPositionEmbeddings
        if let files {
            tokenizer = try CLIPTokenizer(files: files, maxPositionEmbeddings: length)
        } else if TokenizerRegistry.isRegistered(tokenizerName) {
            tokenizer = try TokenizerRegistry.tokenizer(tokenizerName, modelMaxLength: length)
        } else {
            tokenizer = nil
        }
        guard let tokenizer,
            tokenizer.vocabSize > model.config.vocabSize
                || files == nil && tokenizer.vocabSize != model.config.vocabSize
        else { return }
        throw TokenizerError.vocabulary(
            name: tokenizerName, expected: tokenizer.vocabSize, found: model.config.vocabSize)
    }

    /// The config of the encoder.
    public var config: CLIPTextConfig { model.config }
    /// Every parameter, and every layer with a replaceable weight.
    public var store: ParameterStore { model.store }

    /// The tokenizer.
    ///
    /// - Throws: `TokenizerError.unknown` where it is not registered.
    public func requiredTokenizer() throws -> any Tokenizer {
        try tokenizer
            ?? TokenizerRegistry.tokenizer(tokenizerName, modelMaxLength: config.maxPositionEmbeddings)
    }
}

extension TextEncoder {
    /// The text encoder `name` of a checkpoint; nil where it has none. Every tensor of it must be used.
    ///
    /// - Throws: `CheckpointError`, `ConfigError`, `ParameterError`, `TokenizerError`.
    public convenience init?(
        _ name: String, in reader: CheckpointReader, precision: WeightPrecision = .float32
    ) throws {
        guard let json = reader.header.configs[name] else { return nil }
        let config = try CLIPTextConfig(json: Data(json.utf8))
        let parameters = try CheckpointParameters(
            reader, component: name, precision: precision,
            shapes: reader.format == .packed ? Self.skeletonStore(name, config).weightShapes : [:])
        let (model, projected) = try Self.build(name, config, ParameterPath(ParameterStore(provider: parameters)))
        try parameters.checkAllUsed()
        let tokenizer = reader.header.tokenizers[Self.tokenizerComponent(of: name)]
        try self.init(
            name, model, projected,
            tokenizerName: tokenizer == nil ? reader.header.tokenizer ?? "" : CLIPTokenizer.name,
            files: tokenizer.map(TokenizerFiles.init))
    }

    /// The text encoder `name` of a checkpoint without values and without tokenizer; nil where it has none.
    package convenience init?(skeleton name: String, in reader: CheckpointReader) throws {
        guard let json = reader.header.configs[name] else { return nil }
        try self.init(skeleton: name, json: json, tokenizer: nil)
    }

    /// A text encoder without values.
    ///
    /// - Throws: `ConfigError`, `ParameterError`, `TokenizerError`.
    convenience init(skeleton name: String, json: String, tokenizer: TokenizerFiles?) throws {
        let (model, projected) = try Self.build(
            name, CLIPTextConfig(json: Data(json.utf8)), ParameterPath(ParameterStore(provider: ShapeOnlyProvider())))
        try self.init(name, model, projected, tokenizerName: CLIPTokenizer.name, files: tokenizer)
    }

    /// The layers of the text encoder `name`, without values.
    ///
    /// - Throws: `ParameterError` for an architecture that cannot be built.
    private static func skeletonStore(_ name: String, _ config: CLIPTextConfig) throws -> ParameterStore {
        let store = ParameterStore(provider: ShapeOnlyProvider())
        _ = try build(name, config, ParameterPath(store))
        return store
    }

    /// diffusers' second text encoder is a `CLIPTextModelWithProjection`.
    private static func build(
        _ name: String, _ config: CLIPTextConfig, _ parameters: ParameterPath
    ) throws -> (CLIPTextModel, CLIPTextModelWithProjection?) {
        guard name != CheckpointHeader.textEncoder else {
            return (try CLIPTextModel(config: config, parameters: parameters), nil)
        }
        let projected = try CLIPTextModelWithProjection(config: config, parameters: parameters)
        return (projected.textModel, projected)
    }
}

extension ParameterStore {
    /// The shapes of the weights of all layers, by path.
    var weightShapes: [String: [Int]] {
        Dictionary(uniqueKeysWithValues: weightedLayers.map { ($0.path, $0.weight.shape) })
    }
}
