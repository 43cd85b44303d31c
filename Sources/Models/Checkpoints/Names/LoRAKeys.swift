// SPDX-License-Identifier: Apache-2.0
// The names of the tensors in LoRA files: a layer, and the tensor's part in it.
//
//     kohya           lora_unet_down_blocks_0_..._to_q.{lora_down.weight,lora_up.weight,alpha}; lora_te_, lora_te1_,
//                     lora_te2_; for SDXL also the original names: lora_unet_input_blocks_4_1_...
//     PEFT            unet.down_blocks.0....to_q.{lora_A,lora_B}.weight; base_model.model.down_blocks...
//     old diffusers   unet.down_blocks.0....attn1.processor.to_q_lora.{down,up}.weight,
//                     text_encoder....q_proj.lora_linear_layer.{down,up}.weight

/// A tensor's name in parts.
struct LoRAKey: Equatable {
    enum Role: Equatable { case down, up, middle, alpha }

    /// The layer as the file names it, with the component's prefix.
    let layer: String
    let role: Role

    /// Splits `key`; nil where it is not the name of a LoRA's tensor.
    init?(_ key: String) {
        for (suffix, role) in Self.suffixes where key.hasSuffix(suffix) && key.utf8.count > suffix.utf8.count {
            layer = String(key.dropLast(suffix.count))
            self.role = role
            return
        }
        return nil
    }

    private static let suffixes: [(String, Role)] = [
        (".lora_down.weight", .down), (".lora_up.weight", .up), (".lora_mid.weight", .middle),
        (".lora_A.weight", .down), (".lora_B.weight", .up),
        (".lora_A.default.weight", .down), (".lora_B.default.weight", .up),
        (".lora_linear_layer.down.weight", .down), (".lora_linear_layer.up.weight", .up),
        (".lora_linear_layer.alpha", .alpha),
        (".lora.down.weight", .down), (".lora.up.weight", .up), (".lora.alpha", .alpha),
        ("_lora.down.weight", .down), ("_lora.up.weight", .up), ("_lora.alpha", .alpha),
        (".alpha", .alpha),
    ]
}

/// What the names of a whole file tell.
enum LoRAKeys {
    /// Whether any name is that of a LoRA's or a similar adapter's tensor.
    static func isLoRA(_ keys: [String]) -> Bool {
        keys.contains { key in
            LoRAKey(key).map { $0.role != .alpha } ?? (key.hasPrefix("lora_") || unsupported(key) != nil)
        }
    }

    /// The kind of adapter that `key` belongs to, where it is not a plain LoRA.
    static func unsupported(_ key: String) -> String? {
        if [".diff", ".diff_b", ".w_norm", ".b_norm"].contains(where: { key.hasSuffix($0) }) {
            return "a LyCORIS adapter of whole weights"
        }
        return formats.first { format in format.parts.contains { key.contains($0) } }?.name
    }

    private static let formats: [(name: String, parts: [String])] = [
        ("DoRA", ["dora_scale", "lora_magnitude_vector"]), ("LoHa", [".hada_w"]), ("LoKr", [".lokr_w"]),
        ("OFT", [".oft_", ".boft_"]), ("IA3", [".on_input", ".ia3_l"]), ("GLoRA", [".a1.weight", ".b1.weight"]),
        ("a LoRA with bias", [".lora_B.bias", ".lora_bias"]), ("a LoRA of embeddings", ["lora_embedding_"]),
        ("a LoRA with textual inversions", ["bundle_emb."]),
    ]
}
