// SPDX-License-Identifier: Apache-2.0
// The UNets of the benchmarks, Stable Diffusion 1.5 and the shapes world, with random parameters.

import BitsFusion
import Foundation

/// A UNet and the sizes of its inputs.
struct BenchmarkUNet {
    /// A file in `Configs/`.
    let configFile: String
    let batch, size, tokens: Int

    /// Stable Diffusion 1.5: one sample of `size` x `size` latents, 77 tokens.
    static func stableDiffusion(size: Int) -> BenchmarkUNet {
        BenchmarkUNet(configFile: "Configs/unet-sd15.json", batch: 1, size: size, tokens: 77)
    }

    /// The shapes world: 32x32 pixels, 16 tokens.
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

    /// Operations of a forward pass; nil if the config cannot be read, which is reported when the model is built.
    var operations: Double? {
        try? unetOperations(config(), batch: batch, height: size, width: size, tokens: tokens)
    }

    /// The settings of the model in PyTorch.
    var twinText: [String: String] { ["config": configFile] }

    /// The model; parameters are the same in every call.
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

/// The inputs of a UNet.
struct UNetInputs {
    let sample, timesteps, states: Tensor

    /// The inputs by their names in PyTorch.
    var named: [String: Tensor] {
        ["sample": sample, "timestep": timesteps, "encoder_hidden_states": states]
    }
}

extension BenchmarkUNet {
    /// Every parameter of the unchanged `model` as `unet.<diffusers key>`, without copies.
    func shared(_ model: any Denoiser) -> SharedTensors {
        let name = configFile.split(separator: "/").last.map(String.init) ?? configFile
        let parameters = model.store.entries.map { ("unet." + $0.key, $0.source.tensor().detached()) }
        return SharedTensors(name: name, tensors: Dictionary(uniqueKeysWithValues: parameters))
    }
}

extension BenchmarkUNet {
    /// Noise predictions of `model`, without gradients.
    ///
    /// - Parameters:
    ///   - model: the UNet.
    ///   - parametersName: prefix of the name of the shared parameters, for models with changed parameters.
    /// - Returns: the work.
    func forward(_ model: UNet2DConditionModel, parametersName: String = "") -> Workload {
        model.store.setTrainable(false)
        let inputs = inputs(model.config)
        let shared = shared(model)
        return .forward(
            inputs: inputs.named, shared: SharedTensors(name: parametersName + shared.name, tensors: shared.tensors)
        ) { model(inputs.sample, timesteps: inputs.timesteps, encoderHiddenStates: inputs.states) }
    }
}
