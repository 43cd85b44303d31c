// SPDX-License-Identifier: Apache-2.0

/// The file names of diffusers.
enum DiffusersName {
    static let config = "config.json"
    static let modelIndex = "model_index.json"
    static let weights = "diffusion_pytorch_model"
    static let textEncoderWeights = "model"
    static let scheduler = "scheduler/scheduler_config.json"
}
