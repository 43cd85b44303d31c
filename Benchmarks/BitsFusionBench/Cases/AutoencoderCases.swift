// SPDX-License-Identifier: Apache-2.0
// Decoding of latents with the autoencoder of Stable Diffusion 1.5 and random parameters: with weights in Float32, and
// with packed weights, which are multiplied as floats or with activations quantized to int8.

import BitsFusion
import Foundation

enum AutoencoderCases {
    static var all: [BenchmarkCase] {
        [
            decode("vae decode sd15 64x64", size: 64, RatioTargets(float32: 0.75, bfloat16: 0.75)),
            decode("vae decode sd15 64x64, packed", size: 64, RatioTargets(), packed: .float32),
            decode("vae decode sd15 64x64, packed, int8", size: 64, RatioTargets(), packed: .int8),
        ]
    }

    private static let configFile = "Configs/vae-sd15.json"

    /// The most bits whose products can be computed with integers.
    private static let bits = BitWidth(7)

    /// One image of `size` x `size` latents. `packed`: packs all layers, for activations of this type; nil: weights in
    /// Float32.
    private static func decode(
        _ name: String, size: Int, _ targets: RatioTargets, packed: ActivationType? = nil
    ) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: .pipeline, operation: "vae_decode", text: ["config": configFile],
            operations: try? config().decodingOperations(height: size, width: size),
            tolerances: packed == .int8 ? .quantizedNetwork : .network, targets: targets
        ) {
            let config = try config()
            let model = try AutoencoderKL(
                config: config, parameters: ParameterPath(ParameterStore(provider: BenchmarkParameters())),
                parts: .decoder)
            model.store.setTrainable(false)
            if let packed {
                for layer in model.store.weightedLayers {
                    try layer.pack(bits)
                    (layer.weight as? PackedWeight)?.activations = packed
                }
            }
            let latents = RandomInputs("vae \(size)").normal("latents", [1, config.latentChannels, size, size])
            let parameters = model.store.entries.map { ("vae." + $0.key, $0.source.tensor().detached()) }
            return .forward(
                inputs: ["latents": latents],
                shared: SharedTensors(
                    name: packed == nil ? "vae" : "packed-vae", tensors: Dictionary(uniqueKeysWithValues: parameters))
            ) { model.decode(latents) }
        }
    }

    /// - Throws: `BenchmarkError.missingFile`, `ConfigError`.
    private static func config() throws -> AutoencoderKLConfig {
        guard let json = FileManager.default.contents(atPath: configFile) else {
            throw BenchmarkError.missingFile(path: configFile)
        }
        return try AutoencoderKLConfig(json: json)
    }
}

extension AutoencoderKLConfig {
    /// Operations of decoding one sample of `height` x `width` latents: convolutions, linear layers and the two
    /// products of the attention, 2 per multiply-add.
    ///
    /// - Throws: `ParameterError` for an architecture that cannot be built.
    func decodingOperations(height: Int, width: Int) throws -> Double {
        let levels = blockOutChannels.count
        let layers = try skeleton(parts: .decoder).store.weightedLayers
        let total = layers.reduce(0.0) { total, layer in
            let parts = layer.path.split(separator: ".")
            // The number of doublings before the output of the layer.
            let doublings =
                switch parts.last {
                case "conv_out": levels - 1
                default:
                    parts.contains("up_blocks")
                        ? (Int(parts[2]) ?? 0) + (parts.contains("upsamplers") ? 1 : 0) : 0
                }
            let pixels = Double(height * width) * Double(1 << (2 * doublings))
            let product = 2 * pixels * Double(layer.weight.shape.reduce(1, *))
            return total + product + (parts.last == "to_q" ? 4 * pixels * pixels * Double(layer.weight.shape[0]) : 0)
        }
        return total
    }
}
