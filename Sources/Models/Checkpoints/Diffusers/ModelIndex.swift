// SPDX-License-Identifier: Apache-2.0
// The `model_index.json` of an exported pipeline: the pipeline's class, and for each component its library and class,
// or [null, null] for a component that the folder does not have.

import Files
import Foundation

extension CheckpointHeader {
    /// The `model_index.json` of a folder with the components `names` of this model: the one that the model came with,
    /// byte for byte where it names these components and no others.
    ///
    /// - Throws: `JSONError`.
    package func modelIndex(components names: Set<String>) throws -> String {
        let text = modelIndex ?? "{}"
        let original = try JSONError.checkObject(text, file: DiffusersName.modelIndex, document: "the document")
        let given = Dictionary(uniqueKeysWithValues: (original.members ?? []).map { ($0.key, $0.value) })
        var members = given
        for (name, value) in given where PipelineFolder.isComponent(name, value) && !names.contains(name) {
            members[name] = Self.absent
        }
        for name in names where given[name]?.elements?.last?.text == nil {
            members[name] = .array([.string(DiffusersName.library(of: name)), .string(try className(of: name))])
        }
        let isXL = given["_class_name"]?.text?.contains("XL") ?? names.contains("text_encoder_2")
        members["_class_name"] =
            given["_class_name"] ?? .string(isXL ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline")
        let expected = isXL ? ["text_encoder_2", "tokenizer_2"] : ["feature_extractor", "safety_checker"]
        for name in ["scheduler", "text_encoder", "tokenizer", "vae"] + expected where members[name] == nil {
            members[name] = Self.absent
        }
        if members == given { return text }
        return String(decoding: try JSONEncoder.document.encode(members), as: UTF8.self) + "\n"
    }

    private static let absent = JSONValue.array([.null, .null])

    /// The class of a component that no `model_index.json` names.
    private func className(of name: String) throws -> String {
        switch name {
        case component: return architecture
        case "scheduler":
            let config = try scheduler.map {
                try JSONError.checkObject($0, file: DiffusersName.scheduler, document: "the document")
            }
            return config?["_class_name"]?.text ?? "PNDMScheduler"
        default: return PipelineFolder.defaultClasses[name] ?? "CLIPTokenizer"
        }
    }
}
