// SPDX-License-Identifier: Apache-2.0
// The two UNets of the benchmarks: Stable Diffusion 1.5's and the shapes world's, with made-up parameters.

import BitsFusion
import Foundation

/// A UNet and the sizes of its inputs.
struct BenchmarkUNet {
    /// In `Configs/`.
    let configFile: String
    let batch, size, tokens: Int

    /// Stable Diffusion 1.5's, one sample of `size` x `size` latents, 77 tokens.
    static func stableDiffusion(size: Int) -> BenchmarkUNet {
        BenchmarkUNet(configFile: "Configs/unet-sd15.json", batch: 1, size: size, tokens: 77)
    }

    /// The shapes world's, 32x32 pixels, 16 tokens.
    static func shapes(batch: Int) -> BenchmarkUNet {
        BenchmarkUNet(configFile: "Configs/unet-shapes.json", batch: batch, size: 32, tokens: 16)
    }

    /// - Throws: `BenchmarkError.missingFile`, `ConfigError`.
    func config() throws -> UNet2DConditionConfig {
        guard let json = FileManager.default.contents(atPath: configFile) else {
            throw BenchmarkError.missingFile(path: configFile)
        }
        return try UNet2DConditionConfig(json: json)
    }

    /// Operations of a forward pass; nil where the config cannot be read, which building the model reports.
    var operations: Double? {
        try? unetOperations(config(), batch: batch, height: size, width: size, tokens: tokens)
    }

    /// What the twin builds its model from.
    var twinText: [String: String] { ["config": configFile] }

    /// Our model; every call makes the same parameters.
    func model() throws -> UNet2DConditionModel {
        try UNet2DConditionModel(
            config: config(), parameters: ParameterPath(ParameterStore(provider: BenchmarkParameters())))
    }

    /// `sample`, `timestep`, `encoder_hidden_states`, under diffusers' names.
    func inputs(_ config: UNet2DConditionConfig) -> UNetInputs {
        let random = RandomInputs("unet \(configFile) \(batch) \(size)")
        let steps = (0..<batch).map { Float(($0 * 331 + 500) % 1000) }
        return UNetInputs(
            sample: random.normal("sample", [batch, config.inChannels, size, size]),
            timesteps: Tensor(steps, shape: [batch]),
            states: random.normal("states", [batch, tokens, config.crossAttentionDim[0]]))
    }
}

/// What a UNet is called with.
struct UNetInputs {
    let sample, timesteps, states: Tensor

    /// For the twin.
    var named: [String: Tensor] {
        ["sample": sample, "timestep": timesteps, "encoder_hidden_states": states]
    }
}

extension BenchmarkUNet {
    /// For the twin: every parameter of a `model` that is as it was made, as `unet.<diffusers key>`. No copies.
    func shared(_ model: any Denoiser) -> SharedTensors {
        let name = configFile.split(separator: "/").last.map(String.init) ?? configFile
        let parameters = model.store.entries.map { ("unet." + $0.key, $0.source.tensor().detached()) }
        return SharedTensors(name: name, tensors: Dictionary(uniqueKeysWithValues: parameters))
    }
}
