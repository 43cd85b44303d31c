// SPDX-License-Identifier: Apache-2.0
// A sensitivity sweep with the error of the noise prediction over layers of Stable Diffusion 1.5's UNet. PyTorch runs
// the naive loop, a whole forward pass per candidate, with weights quantized in advance; ours quantizes in the measured
// time.

import BitsFusion

enum AnalysisCases {
    static var all: [BenchmarkCase] { [sweep(.stableDiffusion(size: 32))] }

    /// Number of layers, evenly spaced from the first to the last.
    private static let sampledLayers = 12
    private static let bits = BitWidth(2)

    private static func sweep(_ unet: BenchmarkUNet) -> BenchmarkCase {
        BenchmarkCase(
            name: "analyze noise, sd15 unet 32x32, \(sampledLayers) candidates", group: .analyze,
            operation: "noise_sweep", options: ["layers": sampledLayers], text: unet.twinText,
            twins: [.float32], tolerances: .gradient, targets: RatioTargets(float32: 0.25)
        ) {
            let model = try unet.model()
            model.store.setTrainable(false)
            let (inputs, schedule) = (unet.inputs(model.config), SamplerConfig().schedule)
            let part = PredictionInputs(
                samples: inputs.sample, timesteps: inputs.timesteps.values.map { Int($0) },
                conditions: PromptEmbeddings(conditional: inputs.states, unconditional: inputs.states),
                guidanceScale: 1)
            let passes = StagedPredictions(model, [part], memoryLimit: 1 << 30) {}
            let sensitivity = NoisePredictionSensitivity(passes: passes, schedule: schedule)
            let quantized = model.quantizedLayers
            let layers = (0..<sampledLayers).map {
                quantized[(2 * $0 + 1) * quantized.count / (2 * sampledLayers)]
            }
            let sensitivities = {
                layers.map { layer in
                    let stage = model.stage(ofLayer: layer.path)
                    passes.move(to: stage ?? 0)
                    return withQuantizedWeight(of: layer, at: bits) {
                        sensitivity.measure(from: stage) {} ?? .nan
                    }
                }
            }
            var named = inputs.named
            for (index, layer) in layers.enumerated() {
                withQuantizedWeight(of: layer, at: bits) {
                    named["weight.\(index).\(layer.path)"] = layer.weight.tensor()
                }
            }
            let alpha = schedule.alphasCumprod[Int(inputs.timesteps.values[0])]
            named["error_weight"] = Tensor([(1 - alpha) / alpha], shape: [1])
            return Workload(
                inputs: named, shared: unet.shared(model), pass: { _ = sensitivities() },
                results: {
                    // Separate results, so that small sensitivities must agree as closely as large ones.
                    Dictionary(
                        uniqueKeysWithValues: zip(layers, sensitivities()).map { layer, sensitivity in
                            ("sensitivity." + layer.path, Tensor([Float(sensitivity)], shape: [1]))
                        })
                })
        }
    }
}
