// SPDX-License-Identifier: Apache-2.0
// The number of operations of a UNet's forward pass, from its config: every linear and convolution layer at the
// resolution that follows from its path, and the two products of every attention. Norms, activations and softmax are
// not counted, as usual for GFLOPS. B batch, T context tokens.

import BitsFusion

/// Counts 2 per multiply-add; convolutions directly.
///
/// - Parameters:
///   - config: the architecture.
///   - batch: B.
///   - height: height of the sample.
///   - width: width of the sample.
///   - tokens: T.
/// - Returns: operations of one forward pass.
/// - Throws: `RecipeError` for an architecture without an inventory.
func unetOperations(
    _ config: UNet2DConditionConfig, batch: Int, height: Int, width: Int, tokens: Int
) throws -> Double {
    let levels = config.blockOutChannels.count
    // Downsampling convolutions round up with padding on both sides, and down with padding on one side.
    func halved(_ size: Int, times: Int) -> Int {
        (0..<times).reduce(size) { size, _ in (size + config.downsamplePadding) / 2 }
    }
    let pixels = (0..<levels).map { halved(height, times: $0) * halved(width, times: $0) }
    let total = try config.inventory().layers.reduce(0.0) { total, layer in
        let layerInput = LayerInput(layer.path.rawValue, config)
        let rows =
            switch layerInput.input {
            case .pixels(let level): pixels[level]
            case .tokens: tokens
            case .sample: 1
            }
        let product = 2 * Double(rows) * Double(layer.weights)
        guard layerInput.isQuery, case .pixels(let level) = layerInput.input else { return total + product }
        // Queries with keys, and probabilities with values.
        let keys = layerInput.attendsToContext ? tokens : pixels[level]
        return total + product + 4 * Double(rows) * Double(keys) * Double(layer.outputChannels)
    }
    return Double(batch) * total
}

/// The input of a layer in a UNet, derived from its diffusers path.
private struct LayerInput {
    enum Input {
        /// One row per pixel of the output, at the resolution after `level` halvings.
        case pixels(level: Int)
        /// One row per context token.
        case tokens
        /// One row per sample.
        case sample
    }

    let input: Input
    /// Whether the layer computes the queries of an attention.
    let isQuery: Bool
    /// Whether the layer belongs to a cross-attention.
    let attendsToContext: Bool

    init(_ path: String, _ config: UNet2DConditionConfig) {
        let parts = path.split(separator: ".").map(String.init)
        let last = config.blockOutChannels.count - 1
        let index = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let level =
            switch parts[0] {
            case "down_blocks": index
            case "mid_block": last
            case "up_blocks": last - index
            default: 0
            }
        isQuery = parts.last == "to_q"
        let isContextOnly = parts[0] != "mid_block" && config.onlyCrossAttention[level]
        attendsToContext = parts.contains("attn2") || parts.contains("attn1") && isContextOnly
        let isKeyOrValue = parts.last == "to_k" || parts.last == "to_v"
        if parts[0].hasSuffix("_embedding") || parts.last == "time_emb_proj" {
            input = .sample
        } else if parts[0] == "encoder_hid_proj" || attendsToContext && isKeyOrValue {
            input = .tokens
        } else if parts.contains("downsamplers") {
            input = .pixels(level: level + 1)
        } else if parts.contains("upsamplers") {
            input = .pixels(level: level - 1)
        } else {
            input = .pixels(level: level)
        }
    }
}
