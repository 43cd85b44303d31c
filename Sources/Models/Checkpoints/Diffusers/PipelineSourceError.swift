// SPDX-License-Identifier: Apache-2.0
// Folders and options that give no pipeline, with their texts.

import Files

/// A pipeline that is not read, by its folder or the options given.
public enum PipelineSourceError: Error, Equatable, Sendable {
    /// The folder holds weights, but neither `model_index.json` nor `config.json`.
    case noConfig(folder: String, files: [String])
    /// The file of a component that `model_index.json` names does not exist.
    case missingComponent(path: String)
    /// A CLIP folder has no config of its image processor.
    case missingProcessor(path: String)
    /// The pipeline has no UNet; `denoiser` is the class of the network that it has instead.
    case noUNet(folder: String, pipeline: String, denoiser: String?)
    /// A pipeline with a UNet that is not supported.
    case otherPipeline(folder: String, pipeline: String, reason: String)
    /// The file is of the format `format` of this program and needs no import.
    case modelFile(path: String, format: String)
    /// A single file has no variants.
    case variantOfFile(path: String)
    /// A folder's scheduler config states the prediction type.
    case predictionTypeOfFolder(path: String)
}

extension PipelineSourceError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noConfig, .missingComponent, .missingProcessor: .inputMissing
        case .noUNet, .otherPipeline, .modelFile: .badData
        case .variantOfFile, .predictionTypeOfFolder: .usage
        }
    }

    public var description: String {
        switch self {
        case .noConfig(let folder, let files):
            "\(folder): no model_index.json or config.json; found \(listed(files)): give the path of a single-file "
                + "checkpoint, or download the configs too"
        case .missingComponent(let path):
            "\(path): not there, but model_index.json names the component; download its folder too"
        case .missingProcessor(let path):
            "\(path): not there, but images are prepared as it says; download it too"
        case .noUNet(let folder, let pipeline, let denoiser):
            "\(folder): \(pipeline) has no unet" + (denoiser.map { ", but a \($0)" } ?? "")
                + "; supported are Stable Diffusion 1.x, 2.x and SDXL"
        case .otherPipeline(let folder, let pipeline, let reason):
            "\(folder): \(pipeline) is not supported (\(reason)); supported are Stable Diffusion 1.x, 2.x and SDXL"
        case .modelFile(let path, let format):
            "\(path): expected a diffusers folder or a safetensors file, found \(format), which needs no import; use "
                + "the file as it is"
        case .variantOfFile(let path):
            "\(path): a single file has no variants; leave out --variant"
        case .predictionTypeOfFolder(let path):
            "\(path): scheduler_config.json of the folder states the prediction type; leave out --prediction-type"
        }
    }
}
