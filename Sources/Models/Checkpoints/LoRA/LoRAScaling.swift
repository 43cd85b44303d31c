// SPDX-License-Identifier: Apache-2.0
// The factor alpha / rank of each layer. kohya's files store alpha beside the matrices. PEFT keeps it in a config:
// `adapter_config.json` beside the file, or, for pipelines of diffusers, the metadata entry `lora_adapter_metadata`,
// with keys such as `unet.lora_alpha`.

import Files
import Foundation

/// The alphas of a LoRA file.
struct LoRAScaling: Sendable {
    /// The files that were read beside the weights.
    let files: [String]
    /// By component; "" for every component.
    private let settings: [String: Settings]

    private struct Settings: Sendable {
        var alpha: Double?
        var patterns: [String: Double] = [:]
        /// rsLoRA: alpha / sqrt(rank).
        var dividesByRoot = false
    }

    /// Reads the config of a LoRA file, if it has one.
    ///
    /// - Throws: `JSONError` for a config that is not valid; `LoRAError.unsupported` for DoRA.
    init(_ source: SafetensorsReader) throws {
        let configPath = PathParts(source.path).sibling("adapter_config.json")
        if let text = source.metadata["lora_adapter_metadata"] {
            let document = try JSONError.checkObject(text, file: source.path, document: "lora_adapter_metadata")
            files = []
            settings = try Self.settings(document, ["unet", "text_encoder", "text_encoder_2"], source.path)
        } else if PathParts(source.path).name.hasPrefix("adapter_model"), try FilePresence(configPath).exists() {
            files = [configPath]
            settings = try Self.settings(try TextDocument.object(configPath).value, [""], configPath)
        } else {
            files = []
            settings = [:]
        }
    }

    private static func settings(
        _ document: JSONValue, _ components: [String], _ file: String
    ) throws -> [String: Settings] {
        var result: [String: Settings] = [:]
        for component in components {
            func value(_ key: String) -> JSONValue? { document[component.isEmpty ? key : "\(component).\(key)"] }
            if value("use_dora") == .bool(true) {
                throw LoRAError.unsupported(file: file, format: "DoRA", key: "use_dora")
            }
            var settings = Settings(alpha: value("lora_alpha")?.double)
            for member in value("alpha_pattern")?.members ?? [] { settings.patterns[member.key] = member.value.double }
            settings.dividesByRoot = value("use_rslora") == .bool(true)
            result[component] = settings
        }
        return result
    }

    /// The factor of one layer.
    ///
    /// - Parameters:
    ///   - target: the weight that the layer changes.
    ///   - rank: the rank of the layer.
    ///   - alpha: what the file stores beside the matrices.
    /// - Returns: alpha / rank; 1 where the file tells no alpha.
    func scale(_ target: LoRALayerNames.Target, rank: Int, alpha: Float?) -> Float {
        if let alpha { return alpha / Float(rank) }
        guard let settings = settings[target.component] ?? settings[""] else { return 1 }
        let layer = String(target.key.dropLast(".weight".count))
        let pattern = settings.patterns.first { layer == $0.key || layer.hasSuffix("." + $0.key) }
        guard let alpha = pattern?.value ?? settings.alpha else { return 1 }
        return Float(alpha / (settings.dividesByRoot ? Double(rank).squareRoot() : Double(rank)))
    }
}
