// SPDX-License-Identifier: Apache-2.0
// The layers of a model by the names that LoRA files give them: those of diffusers and transformers, the original
// repository's, and both flattened with underscores as kohya writes them.

import Foundation

/// The layers of the model by every name that LoRA files use for them.
struct LoRALayerNames {
    /// A weight of the model.
    struct Target: Hashable {
        let component: String
        let key: String
    }

    private var targets: [String: Target] = [:]

    /// The names of the layers whose weights have the keys `weights`, by component.
    init(_ weights: [String: [String]]) {
        for (component, keys) in weights {
            switch component {
            case "unet": addUNet(keys)
            case "text_encoder": addTextEncoder(keys, component, ["lora_te_", "lora_te1_"])
            case "text_encoder_2": addTextEncoder(keys, component, ["lora_te2_"])
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
