// SPDX-License-Identifier: Apache-2.0
// The architecture of a CLIP model. Keys, meanings and defaults are those of transformers' `CLIPConfig`
// (models/clip/configuration_clip.py).

import Files
import Foundation
import Layers

/// transformers' `config.json` of a `CLIPModel`, validated.
public struct CLIPConfig: Sendable, Equatable {
    public let textConfig: CLIPTextConfig
    public let visionConfig: CLIPVisionConfig
    /// P, channels of the space of images and texts.
    public let projectionDim: Int

    /// The class in transformers.
    public static let architecture = "CLIPModel"
}

extension CLIPConfig {
    /// Reads transformers' `config.json`.
    ///
    /// An absent key has transformers' default. As in transformers, `text_config_dict` and `vision_config_dict`, which
    /// early repositories have, replace `text_config` and `vision_config`. Options of text generation inside of these
    /// are ignored, and so is `logit_scale_init_value`, since the logit scale is a parameter.
    ///
    /// - Parameter json: UTF-8 JSON, in which `NaN` and `Infinity` are accepted.
    /// - Throws: `ConfigError`, which names the key and its value, and for a key of a nested config that config.
    public init(json: Data) throws(ConfigError) {
        let name = "config.json"
        let parts = ["text_config", "vision_config"]
        var reader = try ConfigReader(
            JSONValue(parsing: json, name: name), name: name,
            nullable: Set(CLIPConfigKeys.withoutEffect + parts + parts.map { $0 + "_dict" }))
        textConfig = try Self.part(parts[0], &reader) { document throws(ConfigError) in
            try CLIPTextConfig(document: document, json: json)
        }
        visionConfig = try Self.part(parts[1], &reader) { document throws(ConfigError) in
            try CLIPVisionConfig(document: document)
        }
        projectionDim = try reader.integer("projection_dim", in: CLIPConfigKeys.sizes) ?? 512
        _ = try reader.number("logit_scale_init_value")
        for key in CLIPConfigKeys.withoutEffect { _ = reader.value(key) }
        try reader.finish()
        guard textConfig.causalAttention else {
            throw .inDocument(
                parts[0], .unsupported(key: "causal_attention", value: "false", supported: "true"))
        }
    }

    /// The nested config `key`.
    private static func part<Config>(
        _ key: String, _ reader: inout ConfigReader, _ read: (JSONValue) throws(ConfigError) -> Config
    ) throws(ConfigError) -> Config {
        let newer = reader.value(key), older = reader.value(key + "_dict")
        let value = older ?? newer ?? .object([])
        guard let members = value.members else {
            throw reader.unsupported(older == nil ? key : key + "_dict", value, "objects")
        }
        do throws(ConfigError) {
            return try read(.object(members.filter { !CLIPConfigKeys.generation.contains($0.key) }))
        } catch {
            throw .inDocument(key, error)
        }
    }

    /// The model with shapes and no values of large weights: for inspecting the architecture.
    ///
    /// - Throws: `ParameterError` for an architecture that cannot be built.
    public func skeleton() throws -> CLIPModel {
        try CLIPModel(config: self, parameters: ParameterPath(ParameterStore(provider: ShapeOnlyProvider())))
    }
}
