// SPDX-License-Identifier: Apache-2.0
// The VAE of a single file. With N levels:
//
//     encoder.down.I.block.J, .downsample.conv    encoder.down_blocks.I.resnets.J, .downsamplers.0.conv
//     decoder.up.I.block.J, .upsample.conv        decoder.up_blocks.(N - 1 - I).resnets.J, .upsamplers.0.conv
//     mid.block_1, mid.attn_1, mid.block_2        mid_block.resnets.0, mid_block.attentions.0, mid_block.resnets.1
//     nin_shortcut, norm_out                      conv_shortcut, conv_norm_out
//     attn_1.norm, q, k, v, proj_out              group_norm, to_q, to_k, to_v, to_out.0, convolutions as matrices

/// A VAE with the names of the original repositories.
struct LDMAutoencoder {
    /// The prefixes of its names; the second one is of repacked checkpoints.
    static let prefixes = ["first_stage_model.", "vae."]

    /// The tensors under diffusers' names.
    let tensors: TensorViews
    private let channels: [Int]
    private let layersPerBlock: Int
    private let inChannels: Int
    private let outChannels: Int
    private let latentChannels: Int

    /// Reads names and shapes.
    ///
    /// - Throws: `SingleFileError.layout`, `.unknownKeys`; `CheckpointError.missingKey`.
    init(_ source: any TensorSource, prefix: String) throws {
        func extent(_ name: String, _ axis: Int) throws -> Int {
            let shape = try source.require(prefix + name).shape
            guard shape.count == 4 else {
                throw SingleFileError.layout(
                    file: source.path, component: "vae", reason: "\(prefix)\(name) has the shape \(shape)")
            }
            return shape[axis]
        }
        // The loss's own networks and averages are in checkpoints of a training.
        let keys = source.keys.filter {
            $0.hasPrefix(prefix) && !$0.hasPrefix(prefix + "loss.") && !$0.hasPrefix(prefix + "model_ema.")
        }
        func has(_ name: String) -> Bool { source.stored(prefix + name) != nil }
        let levels = (0...).prefix { has("decoder.up.\($0).block.0.conv1.weight") }.count
        guard levels > 0 else {
            throw SingleFileError.layout(file: source.path, component: "vae", reason: "no decoder.up.0.block.0")
        }
        channels = try (0..<levels).map { try extent("decoder.up.\($0).block.0.conv1.weight", 0) }
        layersPerBlock = max((0...).prefix { has("decoder.up.0.block.\($0).conv1.weight") }.count - 1, 1)
        inChannels = has("encoder.conv_in.weight") ? try extent("encoder.conv_in.weight", 1) : 3
        outChannels = try extent("decoder.conv_out.weight", 0)
        latentChannels = try extent("decoder.conv_in.weight", 1)

        var views: [String: TensorView] = [:]
        var unknown: [String] = []
        for key in keys {
            guard let name = Self.diffusers(String(key.dropFirst(prefix.count)), levels: levels) else {
                unknown.append(key)
                continue
            }
            let view = try TensorView(source, key)
            views[name] = ComponentNames.isVAEAttention(name) ? view.withoutKernel : view
        }
        if !unknown.isEmpty { throw SingleFileError.unknownKeys(file: source.path, component: "vae", keys: unknown) }
        tensors = TensorViews(source.path, views)
    }

    /// The text of `config.json`, as diffusers' repositories have it.
    func config(_ family: CheckpointFamily, sampleSize: Int) throws -> String {
        var members: [String: ConfigValue] = [
            "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": .ints(channels),
            "down_block_types": .list(channels.map { _ in "DownEncoderBlock2D" }), "in_channels": .int(inChannels),
            "latent_channels": .int(latentChannels), "layers_per_block": .int(layersPerBlock),
            "norm_num_groups": .int(ConfigText.normGroups(channels)), "out_channels": .int(outChannels),
            "sample_size": .int(sampleSize),
            "scaling_factor": family == .sdxl ? 0.13025 : 0.18215,
            "up_block_types": .list(channels.map { _ in "UpDecoderBlock2D" }),
        ]
        if family == .sdxl { members["force_upcast"] = true }
        return ConfigText.json(members)
    }

    private static let attention = [
        "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0",
    ]

    /// The name in diffusers of the tensor `name`, nil where no VAE has it.
    static func diffusers(_ name: String, levels: Int) -> String? {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2, ["quant_conv", "post_quant_conv"].contains(parts[0]) { return name }
        guard parts.count >= 3, ["encoder", "decoder"].contains(parts[0]) else { return nil }
        let (coder, last) = (parts[0], parts[parts.count - 1])
        switch parts[1] {
        case "conv_in", "conv_out": return parts.count == 3 ? name : nil
        case "norm_out": return parts.count == 3 ? "\(coder).conv_norm_out.\(last)" : nil
        case "mid" where parts.count == 5:
            if parts[2] == "attn_1" {
                return attention[parts[3]].map { "\(coder).mid_block.attentions.0.\($0).\(last)" }
            }
            guard let index = ["block_1", "block_2"].firstIndex(of: parts[2]) else { return nil }
            return "\(coder).mid_block.resnets.\(index).\(resnet(parts[3])).\(last)"
        case "down" where coder == "encoder" && parts.count >= 6, "up" where coder == "decoder" && parts.count >= 6:
            guard let level = Int(parts[2]), level < levels else { return nil }
            let isDown = parts[1] == "down"
            let block = isDown ? "encoder.down_blocks.\(level)" : "decoder.up_blocks.\(levels - 1 - level)"
            if parts[3] == (isDown ? "downsample" : "upsample"), parts[4] == "conv", parts.count == 6 {
                return "\(block).\(isDown ? "downsamplers" : "upsamplers").0.conv.\(last)"
            }
            guard parts[3] == "block", parts.count == 7, Int(parts[4]) != nil else { return nil }
            return "\(block).resnets.\(parts[4]).\(resnet(parts[5])).\(last)"
        default: return nil
        }
    }

    private static func resnet(_ part: String) -> String { part == "nin_shortcut" ? "conv_shortcut" : part }
}
