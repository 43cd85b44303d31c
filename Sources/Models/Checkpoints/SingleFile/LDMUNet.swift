// SPDX-License-Identifier: Apache-2.0
// The UNet of a single file: its sizes are read from the shapes of its weights, its tensors renamed.

/// A UNet with the names of the original repositories.
struct LDMUNet {
    let inChannels: Int
    /// The channels of the text features.
    let crossAttentionDim: Int
    /// The tensors under diffusers' names.
    let tensors: TensorViews
    private let outChannels: Int
    private let layersPerBlock: Int
    private let channels: [Int]
    /// Transformer layers after each residual block, by level: on the way down, and in the same order on the way up.
    private let downDepths: [[Int]]
    private let upDepths: [[Int]]
    private let hasLinearProjection: Bool
    /// The channels of the added embedding, in SDXL.
    private let labelChannels: Int?

    private static let roots = [
        "input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.",
    ]

    /// Whether `key` is the name of a UNet's tensor in a file that holds a UNet alone.
    static func isNameWithoutPrefix(_ key: String) -> Bool { roots.contains { key.hasPrefix($0) } }

    /// Reads names and shapes.
    ///
    /// - Parameters:
    ///   - source: the file.
    ///   - prefix: what the names of its UNet begin with.
    /// - Throws: `SingleFileError.layout`, `.unknownKeys`; `CheckpointError.missingKey`.
    init(_ source: any TensorSource, prefix: String) throws {
        func fault(_ reason: String) -> SingleFileError {
            .layout(file: source.path, component: "unet", reason: reason)
        }
        let keys = source.keys.filter { key in
            key.hasPrefix(prefix) && (!prefix.isEmpty || Self.isNameWithoutPrefix(key))
        }
        func shape(_ name: String, rank: ClosedRange<Int>) throws -> [Int] {
            let shape = try source.require(prefix + name).shape
            guard rank.contains(shape.count) else { throw fault("\(prefix)\(name) has the shape \(shape)") }
            return shape
        }

        // The blocks: a downsampler ends each level but the last.
        let counts = BlockCounts(keys.map { String($0.dropFirst(prefix.count)) })
        let layers = counts.downsamplers.min().map { $0 - 1 } ?? counts.input - 1
        let levels = counts.downsamplers.count + 1
        guard layers > 0, counts.input == levels * (layers + 1), counts.output == counts.input,
            counts.downsamplers == Set((1..<levels).map { $0 * (layers + 1) })
        else {
            throw fault("\(counts.input) input blocks and \(counts.output) output blocks do not form equal levels")
        }
        layersPerBlock = layers
        channels = try (0..<levels).map {
            try shape("input_blocks.\(1 + $0 * (layers + 1)).0.out_layers.3.weight", rank: 4...4)[0]
        }
        downDepths = (0..<levels).map { level in
            (0..<layers).map { counts.depth("input_blocks.\(1 + level * (layers + 1) + $0)") }
        }
        upDepths = (0..<levels).map { level in
            (0...layers).map { counts.depth("output_blocks.\(level * (layers + 1) + $0)") }
        }
        for depths in downDepths + upDepths where depths.contains(0) && depths.contains(where: { $0 > 0 }) {
            throw fault("attention in some layers of a level only")
        }
        guard counts.depth("middle_block") == max(downDepths[levels - 1][0], 1) else {
            throw fault("the middle block has \(counts.depth("middle_block")) transformer layers")
        }

        // The sizes
        inChannels = try shape("input_blocks.0.0.weight", rank: 4...4)[1]
        outChannels = try shape("out.2.weight", rank: 4...4)[0]
        crossAttentionDim = try shape("middle_block.1.transformer_blocks.0.attn2.to_k.weight", rank: 2...2)[1]
        hasLinearProjection = try shape("middle_block.1.proj_in.weight", rank: 2...4).count == 2
        let label = "label_emb.0.0.weight"
        labelChannels = source.stored(prefix + label) == nil ? nil : try shape(label, rank: 2...2)[1]

        // The tensors
        let names = LDMUNetNames(layersPerBlock: layers)
        var views: [String: TensorView] = [:]
        var unknown: [String] = []
        for key in keys {
            if let name = names.diffusers(String(key.dropFirst(prefix.count))) {
                views[name] = try TensorView(source, key)
            } else {
                unknown.append(key)
            }
        }
        if !unknown.isEmpty { throw SingleFileError.unknownKeys(file: source.path, component: "unet", keys: unknown) }
        tensors = TensorViews(source.path, views)
    }

    /// The text of `config.json`, as diffusers' repositories have it. The number of attention heads cannot be read
    /// from weights: 8 in SD 1.x, else one for 64 channels.
    ///
    /// - Parameters:
    ///   - family: the model.
    ///   - sampleSize: height and width of the latents.
    ///   - pooledChannels: the channels of the pooled text embedding, in SDXL.
    /// - Returns: JSON.
    /// - Throws: what encoding JSON throws.
    func config(_ family: CheckpointFamily, sampleSize: Int, pooledChannels: Int?) throws -> String {
        let levels = channels.count
        let hasAttention = downDepths.map { $0[0] > 0 }
        var members: [String: ConfigValue] = [
            "_class_name": "UNet2DConditionModel", "act_fn": "silu", "block_out_channels": .ints(channels),
            "center_input_sample": false, "cross_attention_dim": .int(crossAttentionDim),
            "down_block_types": .texts(hasAttention.map { $0 ? "CrossAttnDownBlock2D" : "DownBlock2D" }),
            "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": .int(inChannels),
            "layers_per_block": .int(layersPerBlock), "mid_block_scale_factor": 1, "norm_eps": 1e-05,
            "norm_num_groups": .int(ConfigText.normGroups(channels)), "out_channels": .int(outChannels),
            "sample_size": .int(sampleSize),
            "up_block_types": .texts(upDepths.map { $0[0] > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D" }),
        ]
        members["attention_head_dim"] =
            hasLinearProjection || family != .sd1 ? .ints(channels.map { max(1, $0 / 64) }) : 8
        if hasLinearProjection {
            members["use_linear_projection"] = true
            members["only_cross_attention"] = false
            members["dual_cross_attention"] = false
            members["num_class_embeds"] = ConfigValue.null
        }
        if family == .sd2 { members["upcast_attention"] = .bool(sampleSize > 64) }
        let flat = downDepths.map { max($0[0], 1) }
        let isRegular = (0..<levels).allSatisfy { level in
            (downDepths[level] + upDepths[levels - 1 - level]).allSatisfy { max($0, 1) == flat[level] }
        }
        if !isRegular {
            members["transformer_layers_per_block"] = .list(downDepths.map { .ints($0.map { max($0, 1) }) })
            members["reverse_transformer_layers_per_block"] = .list(upDepths.map { .ints($0.map { max($0, 1) }) })
        } else if flat.contains(where: { $0 > 1 }) {
            members["transformer_layers_per_block"] = .ints(flat)
        }
        if let labelChannels {
            // The pooled text embedding and six numbers as sinusoids (original size, crop, target size).
            let sinusoids = pooledChannels.map { labelChannels - $0 } ?? 6 * 256
            members["addition_embed_type"] = "text_time"
            members["addition_time_embed_dim"] = .int(max(sinusoids / 6, 1))
            members["projection_class_embeddings_input_dim"] = .int(labelChannels)
        }
        return ConfigText.json(members)
    }
}

/// The blocks that the names of a UNet's tensors tell of.
private struct BlockCounts {
    /// The number of input blocks, conv_in included, and of output blocks.
    private(set) var input = 0
    private(set) var output = 0
    /// The input blocks that are downsamplers.
    private(set) var downsamplers: Set<Int> = []
    private var depths: [String: Int] = [:]

    init(_ names: [String]) {
        for name in names {
            let parts = name.split(separator: ".")
            guard parts.count > 3, let index = LDMUNetNames.index(parts[1]) else { continue }
            switch parts[0] {
            case "input_blocks":
                input = max(input, index + 1)
                if parts[2] == "0", parts[3] == "op" { downsamplers.insert(index) }
            case "output_blocks": output = max(output, index + 1)
            default: break
            }
            guard let marker = parts.firstIndex(of: "transformer_blocks"), marker + 1 < parts.count,
                let layer = LDMUNetNames.index(parts[marker + 1])
            else { continue }
            let block = parts[0] == "middle_block" ? "middle_block" : parts[0] + "." + parts[1]
            depths[block] = max(depths[block] ?? 0, layer + 1)
        }
    }

    /// The transformer layers of a block, 0 where it has no attention.
    func depth(_ block: String) -> Int { depths[block] ?? 0 }
}
