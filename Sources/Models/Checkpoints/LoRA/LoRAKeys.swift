// SPDX-License-Identifier: Apache-2.0
// The names of the tensors in LoRA files: a layer, and the tensor's part in it.
//
//     kohya           lora_unet_down_blocks_0_..._to_q.{lora_down.weight,lora_up.weight,alpha}; lora_te_, lora_te1_,
//                     lora_te2_; for SDXL also the original names: lora_unet_input_blocks_4_1_...
//     PEFT            unet.down_blocks.0....to_q.{lora_A,lora_B}.weight; base_model.model.down_blocks...
//     old diffusers   unet.down_blocks.0....attn1.processor.to_q_lora.{down,up}.weight,
//                     text_encoder....q_proj.lora_linear_layer.{down,up}.weight

import Foundation

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

/// The layers of the model by every name that LoRA files use for them.
struct LoRALayerNames {
    /// A weight of the model.
    struct Target: Hashable {
        let component: String
        let key: String
    }

    private var targets: [String: Target] = [:]

    /// The names of the layers of `components`.
    init(_ components: [SourceComponent]) {
        for component in components {
            let keys = component.tensors.keys.filter {
                $0.hasSuffix(".weight") && (component.tensors.stored($0)?.shape.count ?? 0) > 1
            }
            switch component.name {
            case "unet": addUNet(keys)
            case "text_encoder": addTextEncoder(keys, component.name, ["lora_te_", "lora_te1_"])
            case "text_encoder_2": addTextEncoder(keys, component.name, ["lora_te2_"])
            default: break
            }
        }
    }

    /// The weight that the layer of a LoRA file changes; nil where the model has no such layer.
    func target(of layer: String) -> Target? {
        var name = layer
        for prefix in ["base_model.model.", "diffusion_model."] where name.hasPrefix(prefix) {
            name.removeFirst(prefix.count)
        }
        name = name.replacingOccurrences(of: ".processor.", with: ".")
        if let found = targets[name] ?? targets["unet." + name] { return found }
        // Old diffusers: to_out_lora for to_out.0, and to_q_lora for the text encoder's q_proj.
        guard let dot = name.lastIndex(of: ".") else { return nil }
        let parent = String(name[...dot]), last = String(name[name.index(after: dot)...])
        let former = ["to_out": ["to_out.0", "out_proj"], "to_q": ["q_proj"], "to_k": ["k_proj"], "to_v": ["v_proj"]]
        for part in former[last] ?? [] {
            if let found = targets[parent + part] ?? targets["unet." + parent + part] { return found }
        }
        return nil
    }

    private mutating func addUNet(_ keys: [String]) {
        let layersPerBlock = (0...).prefix { index in
            keys.contains { $0.hasPrefix("down_blocks.0.resnets.\(index).") }
        }.count
        let names = LDMUNetNames(layersPerBlock: layersPerBlock)
        let attention = Set(keys.filter { $0.contains(".attentions.") }.map { $0.split(separator: ".").prefix(2) })
        for key in keys {
            let target = Target(component: "unet", key: key)
            let layer = String(key.dropLast(".weight".count))
            let original = names.original(layer) { attention.contains(["up_blocks", "\($0)"]) }
            for name in [layer, original].compactMap({ $0 }) {
                targets["unet." + name] = target
                targets["lora_unet_" + name.replacingOccurrences(of: ".", with: "_")] = target
            }
        }
    }

    private mutating func addTextEncoder(_ keys: [String], _ component: String, _ prefixes: [String]) {
        for key in keys {
            let target = Target(component: component, key: key)
            let layer = String(key.dropLast(".weight".count))
            let bare = layer.hasPrefix("text_model.") ? String(layer.dropFirst("text_model.".count)) : layer
            for name in [layer, bare] {
                targets["\(component).\(name)"] = target
                let flat = name.replacingOccurrences(of: ".", with: "_")
                for prefix in prefixes { targets[prefix + flat] = target }
            }
        }
    }
}
