// SPDX-License-Identifier: Apache-2.0
// Reading and validating a UNet's config.json. Defaults are those of diffusers `UNet2DConditionModel.__init__`
// (0.42): an absent key means the same here as there, and a key that is not followed must have a value that
// changes nothing.

import Files
import Foundation
import Layers

extension UNet2DConditionConfig {
    /// Reads diffusers' `config.json`.
    ///
    /// - Parameter json: UTF-8 JSON, in which `NaN` and `Infinity` are accepted.
    /// - Throws: `ConfigError`, naming the key and its value, for a key that is unknown, of the wrong type, or set
    ///   to something that this library does not compute. Keys that begin with "_" are not looked at, but for
    ///   `_class_name`, which must be that of a conditional UNet.
    public init(json: Data) throws(ConfigError) {
        try self.init(document: JSONValue(parsing: json, name: "UNet config.json"), json: json)
    }

    init(document: JSONValue, json: Data) throws(ConfigError) {
        var reader = try ConfigReader(document, name: "UNet config.json", nullable: Self.nullableKeys)
        self.json = json
        self.document = document
        try reader.mustBeDefault("_class_name", .string(Self.architecture))

        // Structure
        downBlockTypes = try Self.blockTypes(
            &reader, "down_block_types",
            default: [.crossAttention, .crossAttention, .crossAttention, .resnets])
        let blocks = downBlockTypes.count
        upBlockTypes = try Self.blockTypes(
            &reader, "up_block_types", default: [.resnets, .crossAttention, .crossAttention, .crossAttention])
        guard upBlockTypes.count == blocks else {
            throw .wrongCount(
                key: "up_block_types", value: upBlockTypes.map(\.rawValue).description, expected: blocks)
        }
        let midBlockIsNull = reader.isNull("mid_block_type")
        let midBlock = try reader.choice("mid_block_type", as: MidBlockType.self)
        midBlockType = midBlockIsNull ? nil : midBlock ?? .crossAttention
        let channels = try reader.list("block_out_channels") ?? [320, 640, 1280, 1280].map { .double($0) }
        blockOutChannels = channels.compactMap(Self.positive)
        guard blockOutChannels.count == channels.count else {
            throw reader.unsupported("block_out_channels", .array(channels), Self.positiveText)
        }
        guard blockOutChannels.count == blocks else {
            throw .wrongCount(
                key: "block_out_channels", value: blockOutChannels.description, expected: blocks)
        }
        layersPerBlock = try reader.perBlock(
            "layers_per_block", count: blocks, default: 2, "integers from 1 to \(Self.layerLimit)"
        ) { value in
            value.integer.flatMap { (1...Self.layerLimit).contains($0) ? $0 : nil }
        }

        // Input, output, normalization
        sampleSize = try Self.sampleSize(&reader)
        inChannels = try reader.integer("in_channels", in: Self.sizeRange) ?? 4
        outChannels = try reader.integer("out_channels", in: Self.sizeRange) ?? 4
        centerInputSample = try reader.bool("center_input_sample", default: false)
        convInKernel = try Self.kernel(&reader, "conv_in_kernel")
        convOutKernel = try Self.kernel(&reader, "conv_out_kernel")
        downsamplePadding = try reader.integer("downsample_padding", in: 0...1) ?? 1
        midBlockScaleFactor = Float(
            try reader.number("mid_block_scale_factor", "numbers other than 0") { $0 != 0 } ?? 1)
        actFn = try Self.activation(&reader, "act_fn") ?? .silu
        normNumGroups = try reader.integer("norm_num_groups", in: Self.sizeRange) ?? 32
        normEps = Float(try reader.number("norm_eps", "numbers above 0") { $0 > 0 } ?? 1e-5)
        for count in blockOutChannels where count % normNumGroups != 0 {
            throw .indivisible(
                key: "block_out_channels", value: count, divisorKey: "norm_num_groups", divisor: normNumGroups
            )
        }

        // Attention
        crossAttentionDim = try reader.perBlock(
            "cross_attention_dim", count: blocks, default: 1280, Self.positiveText, Self.positive)
        numAttentionHeads = try reader.perBlock(
            "attention_head_dim", count: blocks, default: 8, Self.positiveText, Self.positive)
        try reader.mustBeDefault("num_attention_heads")
        onlyCrossAttention = try reader.perBlock(
            "only_cross_attention", count: blocks, default: false, "true, false"
        ) {
            if case .bool(let flag) = $0 { flag } else { nil }
        }
        useLinearProjection = try reader.bool("use_linear_projection", default: false)
        let transformers = try TransformerLayerCounts(&reader, layersPerBlock: layersPerBlock)
        transformerLayersPerBlock = transformers.down
        midTransformerLayers = transformers.mid
        upTransformerLayersPerBlock = transformers.up
        encoderHidDim = try Self.encoderHidDim(&reader)
        // Asks for Float32 inside the attention of half-precision models; here it is always Float32.
        _ = try reader.bool("upcast_attention", default: false)

        // Time
        flipSinToCos = try reader.bool("flip_sin_to_cos", default: true)
        freqShift = Float(try reader.number("freq_shift") ?? 0)
        resnetTimeScaleShift =
            try reader.choice("resnet_time_scale_shift", as: TimeScaleShift.self) ?? .added
        try reader.mustBeDefault("time_embedding_type", .string("positional"))
        timeEmbeddingDim =
            try reader.integer("time_embedding_dim", in: Self.sizeRange) ?? 4 * (blockOutChannels.first ?? 0)
        timeEmbeddingActFn = try Self.activation(&reader, "time_embedding_act_fn")
        timestepPostAct = try Self.activation(&reader, "timestep_post_act")
        additionEmbedType = try reader.choice("addition_embed_type", as: AdditionEmbedType.self)
        if additionEmbedType == nil {
            try reader.mustBeDefault("addition_time_embed_dim")
            try reader.mustBeDefault("projection_class_embeddings_input_dim")
            additionTimeEmbedDim = nil
            projectionClassEmbeddingsInputDim = nil
        } else {
            additionTimeEmbedDim = try Self.required(&reader, "addition_time_embed_dim")
            projectionClassEmbeddingsInputDim = try Self.required(
                &reader, "projection_class_embeddings_input_dim")
        }

        // Followed by no block here: only values without effect
        try reader.mustBeDefault("dropout", .double(0))
        try reader.mustBeDefault("dual_cross_attention", .bool(false))
        try reader.mustBeDefault("class_embed_type")
        try reader.mustBeDefault("num_class_embeds")
        try reader.mustBeDefault("class_embeddings_concat", .bool(false))
        try reader.mustBeDefault("resnet_skip_time_act", .bool(false))
        try reader.mustBeDefault("resnet_out_scale_factor", .double(1))
        try reader.mustBeDefault("time_cond_proj_dim")
        try reader.mustBeDefault("attention_type", .string("default"))
        try reader.mustBeDefault("mid_block_only_cross_attention", .bool(false))
        try reader.mustBeDefault("cross_attention_norm")
        try reader.mustBeDefault("addition_embed_type_num_heads", .double(64))
        // diffusers' EMAModel adds its own settings to the config of the weights that it saves.
        for key in Self.movingAverageKeys { _ = reader.value(key) }
        try reader.finish()
        try checkHeads()
        try checkFrequencies()
    }

    /// The settings of diffusers' `EMAModel`, which say how weights were averaged.
    private static let movingAverageKeys = [
        "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup",
    ]

    /// The keys whose default is null in diffusers.
    private static let nullableKeys: Set<String> = [
        "addition_embed_type", "addition_time_embed_dim", "class_embed_type", "cross_attention_norm",
        "encoder_hid_dim", "encoder_hid_dim_type", "mid_block_only_cross_attention", "mid_block_type",
        "num_attention_heads", "num_class_embeds", "projection_class_embeddings_input_dim",
        "reverse_transformer_layers_per_block", "sample_size", "time_cond_proj_dim", "time_embedding_act_fn",
        "time_embedding_dim", "timestep_post_act",
    ]

    /// Every transformer needs at least one channel per head.
    private func checkHeads() throws(ConfigError) {
        for (index, (heads, channels)) in zip(numAttentionHeads, blockOutChannels).enumerated()
        where heads > channels {
            let isLast = index == blockOutChannels.count - 1
            let isUsed =
                downBlockTypes[index] == .crossAttention
                || upBlockTypes[blockOutChannels.count - 1 - index] == .crossAttention
                || isLast && midBlockType == .crossAttention
            guard isUsed else { continue }
            throw .unsupported(
                key: "attention_head_dim", value: String(heads),
                supported: "at most \(channels) heads in a block of \(channels) channels")
        }
    }

    /// The sinusoids' frequencies are spaced by dividing by half their number minus `freq_shift`.
    private func checkFrequencies() throws(ConfigError) {
        for channels in [blockOutChannels[0], additionTimeEmbedDim ?? 0] where channels > 0 {
            guard Float(channels / 2) == freqShift else { continue }
            throw .unsupported(
                key: "freq_shift", value: JSONValue.double(Double(freqShift)).description,
                supported: "numbers other than half the \(channels) sinusoidal features")
        }
    }

    // Far beyond any model, and small enough that no product of sizes overflows.
    private static let sizeRange = 1...(1 << 20)
    private static let positiveText = "integers from 1 to \(sizeRange.upperBound)"
    fileprivate static let layerLimit = 256

    private static func positive(_ value: JSONValue) -> Int? {
        value.integer.flatMap { sizeRange.contains($0) ? $0 : nil }
    }

    /// Even kernels would change the size of the sample.
    private static func kernel(_ reader: inout ConfigReader, _ key: String) throws(ConfigError) -> Int {
        let size = try reader.integer(key, in: 1...31) ?? 3
        guard size % 2 == 1 else { throw .unsupported(key: key, value: "\(size)", supported: "odd integers") }
        return size
    }

    private static func required(_ reader: inout ConfigReader, _ key: String) throws(ConfigError) -> Int {
        guard let value = try reader.integer(key, in: sizeRange) else {
            throw .missing(key: key, neededBy: "addition_embed_type \"text_time\"")
        }
        return value
    }

    static func activation(
        _ reader: inout ConfigReader, _ key: String
    ) throws(ConfigError) -> Activation? {
        guard let name = try reader.string(key) else { return nil }
        guard let activation = Activation(diffusersName: name) else {
            throw reader.unsupported(
                key, .string(name), "\"silu\", \"swish\", \"gelu\", \"mish\", \"relu\"")
        }
        return activation
    }

    private static func blockTypes<Block: RawRepresentable & CaseIterable>(
        _ reader: inout ConfigReader, _ key: String, default defaultValue: [Block]
    ) throws(ConfigError) -> [Block] where Block.RawValue == String {
        guard let values = try reader.list(key) else { return defaultValue }
        var blocks: [Block] = []
        for value in values {
            // Early checkpoints carry the blocks' former names, "UNetResDownBlock2D" and so on.
            guard case .string(let name) = value,
                let block = Block(rawValue: name.hasPrefix("UNetRes") ? String(name.dropFirst(7)) : name)
            else {
                let names = Block.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
                throw reader.unsupported(key, value, names)
            }
            blocks.append(block)
        }
        return blocks
    }

    private static func sampleSize(_ reader: inout ConfigReader) throws(ConfigError) -> SampleSize? {
        guard let value = reader.value("sample_size") else { return nil }
        // A pass over a larger one fits into no memory.
        let sizeRange = 1...4096
        func positive(_ value: JSONValue) -> Int? {
            Self.positive(value).flatMap { sizeRange.contains($0) ? $0 : nil }
        }
        if let side = positive(value) { return SampleSize(height: side, width: side) }
        if case .array(let sides) = value, sides.count == 2, let height = positive(sides[0]),
            let width = positive(sides[1])
        {
            return SampleSize(height: height, width: width)
        }
        throw reader.unsupported(
            "sample_size", value, "null, an integer from 1 to \(sizeRange.upperBound), or [height, width]")
    }

    private static func encoderHidDim(_ reader: inout ConfigReader) throws(ConfigError) -> Int? {
        try reader.mustBeDefault("encoder_hid_dim_type", .string("text_proj"))
        let hasType = reader.value("encoder_hid_dim_type") != nil
        guard let width = try reader.integer("encoder_hid_dim", in: Self.sizeRange) else {
            if hasType {
                throw .missing(key: "encoder_hid_dim", neededBy: "encoder_hid_dim_type \"text_proj\"")
            }
            return nil
        }
        if case .array = reader.value("cross_attention_dim") {
            throw reader.unsupported(
                "encoder_hid_dim", .double(Double(width)), "null, where cross_attention_dim is a list")
        }
        return width
    }
}

/// `transformer_layers_per_block` and its counterpart for the way up, resolved to one number per transformer.
private struct TransformerLayerCounts {
    let down: [[Int]]
    let mid: Int
    let up: [[Int]]

    init(_ reader: inout ConfigReader, layersPerBlock: [Int]) throws(ConfigError) {
        let key = "transformer_layers_per_block", upKey = "reverse_transformer_layers_per_block"
        let value = reader.value(key) ?? .double(1)
        let blocks = try Self.perBlock(key, value, count: layersPerBlock.count)
        down = try Self.perLayer(key, blocks, layers: layersPerBlock)
        let upLayers = layersPerBlock.reversed().map { $0 + 1 }
        if let reversed = reader.value(upKey) {
            up = try Self.perLayer(
                upKey, Self.perBlock(upKey, reversed, count: upLayers.count), layers: upLayers)
        } else {
            let isNested = blocks.contains { if case .array = $0 { true } else { false } }
            if isNested { throw .missing(key: upKey, neededBy: "\(key) \(value)") }
            up = try Self.perLayer(key, blocks.reversed(), layers: upLayers)
        }
        // The mid block has one transformer; diffusers gives it the last down block's (first) number.
        mid = down.last?.first ?? 1
    }

    private static func perBlock(
        _ key: String, _ value: JSONValue, count: Int
    ) throws(ConfigError) -> [JSONValue] {
        guard case .array(let blocks) = value else { return [JSONValue](repeating: value, count: count) }
        guard blocks.count == count else {
            throw .wrongCount(key: key, value: value.description, expected: count)
        }
        return blocks
    }

    private static func perLayer(
        _ key: String, _ blocks: [JSONValue], layers: [Int]
    ) throws(ConfigError) -> [[Int]] {
        var result: [[Int]] = []
        for (block, count) in zip(blocks, layers) {
            let values: [JSONValue] =
                if case .array(let values) = block { values } else {
                    [JSONValue](repeating: block, count: count)
                }
            let integers = values.compactMap(\.integer).filter {
                (0...UNet2DConditionConfig.layerLimit).contains($0)
            }
            guard integers.count == values.count else {
                throw .unsupported(
                    key: key, value: block.description,
                    supported:
                        "integers from 0 to \(UNet2DConditionConfig.layerLimit), or lists of these per block")
            }
            guard integers.count == count else {
                throw .wrongCount(key: key, value: block.description, expected: count)
            }
            result.append(integers)
        }
        return result
    }
}
