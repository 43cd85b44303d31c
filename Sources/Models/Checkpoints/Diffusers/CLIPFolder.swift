// SPDX-License-Identifier: Apache-2.0
// The folder of a CLIP model as transformers saves it (CLIPModel.save_pretrained, CLIPProcessor.save_pretrained):
//
//     config.json                   {"architectures": ["CLIPModel"], "model_type": "clip", ...}
//     model*.safetensors
//     preprocessor_config.json      the image processor; transformers >= 5 writes it to processor_config.json, under
//                                   the key image_processor
//     vocab.json, merges.txt, ...   the tokenizer

import Files
import Foundation

/// The parts of a CLIP folder besides its weights.
struct CLIPFolder {
    /// The name of the component in a model file.
    static let component = "clip"

    /// The texts of the tokenizer files.
    let tokenizer: [String: String]
    /// The text of `preprocessor_config.json`.
    let preprocessor: String
    /// Every file that was read.
    let files: [String]

    /// Reads the folder `path`.
    ///
    /// - Throws: `PipelineSourceError.missingProcessor`; `FileError`, `JSONError`.
    init(_ path: String) throws {
        let preprocessorPath = path + "/" + DiffusersName.preprocessor
        let processorPath = path + "/" + DiffusersName.processor
        let tokenizer = try PipelineFolder.tokenizer(in: path)
        self.tokenizer = tokenizer.texts
        if try FilePresence(preprocessorPath).exists() {
            preprocessor = try TextDocument.object(preprocessorPath).text
            files = [preprocessorPath] + tokenizer.files
        } else if try FilePresence(processorPath).exists(),
            let value = try TextDocument.object(processorPath).value["image_processor"]
        {
            preprocessor = String(decoding: try JSONEncoder.compact.encode(value), as: UTF8.self)
            files = [processorPath] + tokenizer.files
        } else {
            throw PipelineSourceError.missingProcessor(path: preprocessorPath)
        }
    }

    /// Whether `config` is that of a whole CLIP model.
    static func isCLIP(_ config: JSONValue, className: String?) -> Bool {
        className == "CLIPModel" || className == nil && config["model_type"]?.text == "clip"
    }
}
