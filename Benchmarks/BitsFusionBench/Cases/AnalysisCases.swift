// SPDX-License-Identifier: Apache-2.0
// A sensitivity sweep by noise damage over layers spread through Stable Diffusion 1.5's UNet. PyTorch's side is the naive
// loop: a whole forward pass per candidate. It is given the quantized weights; ours quantizes in the measured time.

import BitsFusion

enum AnalysisCases {
    static var all: [BenchmarkCase] { [sweep(.stableDiffusion(size: 32))] }

    /// Layers in the sample, from the first to the last.
    private static let sampledLayers = 12
    private static let width = BitWidth(2)

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
            let damage = NoisePredictionSensitivity(passes: passes, schedule: schedule)
            let quantizable = model.quantizedLayers
            let layers = (0..<sampledLayers).map {
                quantizable[(2 * $0 + 1) * quantizable.count / (2 * sampledLayers)]
            }
            let damages = {
                layers.map { layer in
                    let stage = model.stage(ofLayer: layer.path)
                    passes.move(to: stage ?? 0)
                    return withQuantizedWeight(of: layer, at: width) {
                        damage.measure(from: stage) {} ?? .nan
                    }
                }
            }
            var named = inputs.named
            for (index, layer) in layers.enumerated() {
                withQuantizedWeight(of: layer, at: width) {
                    named["weight.\(index).\(layer.path)"] = layer.weight.tensor()
                }
            }
            let alpha = schedule.alphasCumprod[Int(inputs.timesteps.values[0])]
            named["error_weight"] = Tensor([(1 - alpha) / alpha], shape: [1])
            return Workload(
                inputs: named, shared: unet.shared(model), pass: { _ = damages() },
                results: {
                    // Each by itself: the smallest must agree as closely as the largest.
                    Dictionary(
                        uniqueKeysWithValues: zip(layers, damages()).map { layer, damage in
                            ("damage." + layer.path, Tensor([Float(damage)], shape: [1]))
                        })
                })
        }
    }
}
