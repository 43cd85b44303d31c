// SPDX-License-Identifier: Apache-2.0
// The transformer that CLIP's text and vision models share, and what their configs have in common. Parameter names and
// computation match transformers' `CLIPEncoder` (models/clip/modeling_clip.py).
// B batch, T tokens, D hidden size, L layers.

import Files
import Layers
import Tensors

/// The sizes of one CLIP transformer, which its text or vision config contains.
struct CLIPEncoderSizes: Sendable, Equatable {
    /// D, channels per token.
    let hiddenSize: Int
    /// Channels between the two linear layers of each feed-forward network.
    let intermediateSize: Int
    /// L.
    let numHiddenLayers: Int
    /// Number of attention heads; divides `hiddenSize`.
    let numAttentionHeads: Int
    /// The activation of the feed-forward networks.
    let hiddenAct: Activation
    let layerNormEps: Float

    /// Reads the sizes. Absent keys have the given defaults, those of transformers for the kind of config.
    ///
    /// - Throws: `ConfigError`.
    init(
        _ reader: inout ConfigReader, hiddenSize: Int, intermediateSize: Int, numAttentionHeads: Int
    ) throws(ConfigError) {
        self.hiddenSize = try reader.integer("hidden_size", in: CLIPConfigKeys.sizes) ?? hiddenSize
        self.intermediateSize = try reader.integer("intermediate_size", in: CLIPConfigKeys.sizes) ?? intermediateSize
        numHiddenLayers = try reader.integer("num_hidden_layers", in: 1...256) ?? 12
        self.numAttentionHeads =
            try reader.integer("num_attention_heads", in: CLIPConfigKeys.sizes) ?? numAttentionHeads
        hiddenAct = try Self.activation(&reader) ?? .quickGELU
        layerNormEps = Float(try reader.number("layer_norm_eps", "numbers above 0") { Float($0) > 0 } ?? 1e-5)
        guard self.hiddenSize % self.numAttentionHeads == 0 else {
            throw .indivisible(
                key: "hidden_size", value: self.hiddenSize, divisorKey: "num_attention_heads",
                divisor: self.numAttentionHeads)
        }
    }

    /// The value of `hidden_act`: the names in transformers' `ACT2FN` that are implemented.
    private static func activation(_ reader: inout ConfigReader) throws(ConfigError) -> Activation? {
        let key = "hidden_act"
        guard let name = try reader.string(key) else { return nil }
        if name == "swish" { return .silu }
        guard let activation = Activation(rawValue: name) else {
            let names = Activation.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw reader.unsupported(key, .string(name), names + ", \"swish\"")
        }
        return activation
    }
}

/// Keys and ranges of CLIP's configs.
enum CLIPConfigKeys {
    /// Larger than in any model, and small enough that no product of two sizes overflows.
    static let sizes = 1...(1 << 20)

    /// Keys of CLIP's configs and of `PreTrainedConfig` (configuration_utils.py) that do not change the output in
    /// inference: dropout, initialization, special tokens of the tokenizer, element types, and options of other models.
    static let withoutEffect = [
        "attention_dropout", "dropout", "initializer_factor", "initializer_range", "bos_token_id", "pad_token_id",
        "model_type", "architectures", "name_or_path", "transformers_version", "dtype", "torch_dtype",
        "attn_implementation", "return_dict", "output_attentions", "output_hidden_states", "gradient_checkpointing",
        "chunk_size_feed_forward", "use_bfloat16", "torchscript", "tf_legacy_loss", "use_cache", "is_decoder",
        "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size", "tie_encoder_decoder",
        "tie_word_embeddings", "tokenizer_class", "sep_token_id", "decoder_start_token_id", "prefix", "id2label",
        "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params",
    ]

    /// Options of text generation, which transformers before 5 writes to the configs inside of a `CLIPConfig`.
    static let generation: Set = [
        "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
        "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
        "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
        "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    ]
}

/// L transformer layers, one after the other.
final class CLIPEncoder {
    private let layers: [CLIPEncoderLayer]

    /// Builds the layers from the parameters below `parameters` ("text_model.encoder").
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    init(_ parameters: ParameterPath, _ sizes: CLIPEncoderSizes, causal: Bool) throws {
        layers = try (0..<sizes.numHiddenLayers).map {
            try CLIPEncoderLayer(parameters / "layers" / $0, sizes, causal: causal)
        }
    }

    /// `x` `[B, T, D]` -> the output of the last layer, of the same shape.
    func callAsFunction(_ x: Tensor) -> Tensor {
        layers.reduce(x) { $1($0) }
    }

    /// `x` `[B, T, D]` -> L + 1 tensors of this shape: `x`, then the output of each layer.
    func hiddenStates(_ x: Tensor) -> [Tensor] {
        layers.reduce(into: [x]) { $0.append($1($0[$0.count - 1])) }
    }
}

/// One pre-norm transformer layer: self-attention and a feed-forward network, each with a residual connection.
private final class CLIPEncoderLayer {
    private let layerNorm1, layerNorm2: LayerNorm
    private let qProj, kProj, vProj, outProj: Linear
    private let fc1, fc2: Linear
    private let sizes: CLIPEncoderSizes
    private let causal: Bool

    init(_ parameters: ParameterPath, _ sizes: CLIPEncoderSizes, causal: Bool) throws {
        (self.sizes, self.causal) = (sizes, causal)
        let channels = sizes.hiddenSize
        let attention = parameters / "self_attn"
        layerNorm1 = try LayerNorm(parameters / "layer_norm1", channels: channels, epsilon: sizes.layerNormEps)
        qProj = try Linear(attention / "q_proj", in: channels, out: channels)
        kProj = try Linear(attention / "k_proj", in: channels, out: channels)
        vProj = try Linear(attention / "v_proj", in: channels, out: channels)
        outProj = try Linear(attention / "out_proj", in: channels, out: channels)
        layerNorm2 = try LayerNorm(parameters / "layer_norm2", channels: channels, epsilon: sizes.layerNormEps)
        fc1 = try Linear(parameters / "mlp.fc1", in: channels, out: sizes.intermediateSize)
        fc2 = try Linear(parameters / "mlp.fc2", in: sizes.intermediateSize, out: channels)
    }

    /// `x` `[B, T, D]` -> the same shape.
    func callAsFunction(_ x: Tensor) -> Tensor {
        let tokens = layerNorm1(x)
        let attended = scaledDotProductAttention(
            qProj(tokens), kProj(tokens), vProj(tokens), heads: sizes.numAttentionHeads, causal: causal)
        let hidden = outProj(attended) + x
        return fc2(sizes.hiddenAct(fc1(layerNorm2(hidden)))) + hidden
    }
}
