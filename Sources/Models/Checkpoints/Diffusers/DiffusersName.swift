// SPDX-License-Identifier: Apache-2.0

/// The file names of diffusers and transformers.
enum DiffusersName {
    static let config = "config.json"
    static let modelIndex = "model_index.json"
    static let weights = "diffusion_pytorch_model"
    static let transformersWeights = "model"
    static let scheduler = "scheduler/scheduler_config.json"
    static let preprocessor = "preprocessor_config.json"
    static let processor = "processor_config.json"

    /// What the names of the weight files of the network `component` begin with.
    static func weightsStem(of component: String) -> String {
        library(of: component) == "transformers" ? transformersWeights : weights
    }

    /// The library of a component's class.
    static func library(of component: String) -> String {
        ["text_encoder", "tokenizer", CLIPFolder.component].contains { component.hasPrefix($0) }
            ? "transformers" : "diffusers"
    }
}
