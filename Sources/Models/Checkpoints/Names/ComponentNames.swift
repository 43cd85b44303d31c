// SPDX-License-Identifier: Apache-2.0
// The names of tensors in the folders of older and newer versions of diffusers and transformers, made the same:
//
//     VAE              mid_block.attentions.0.{query,key,value,proj_attn} -> .{to_q,to_k,to_v,to_out.0}, in diffusers
//                      before 0.15; these weights may be convolutions with a kernel of one element
//     text encoder     embeddings..., encoder... -> text_model.embeddings..., as transformers writes before 5.6;
//                      embeddings.position_ids are indices and no weights, also those of a whole CLIP model

/// Names of the tensors of one component, as diffusers 0.42 and transformers before 5.6 write them.
enum ComponentNames {
    /// `source` under the names of today; itself where it has them.
    ///
    /// - Throws: `CheckpointError.duplicateKey` where two tensors get one name.
    static func current(_ source: any TensorSource, component: String) throws -> any TensorSource {
        switch component {
        case "vae": try views(of: source, rename: vae, change: { isVAEAttention($0) ? $1.withoutKernel : $1 })
        case "text_encoder", "text_encoder_2", "clip": try views(of: source, rename: text, change: { $1 })
        default: source
        }
    }

    private static func views(
        of source: any TensorSource, rename: (String) -> String?, change: (String, TensorView) -> TensorView
    ) throws -> any TensorSource {
        var views: [String: TensorView] = [:]
        var isChanged = false
        for key in source.keys {
            guard let name = rename(key) else {
                isChanged = true
                continue
            }
            let whole = try TensorView(source, key)
            let view = change(name, whole)
            isChanged = isChanged || name != key || view.stored != whole.stored
            guard views.updateValue(view, forKey: name) == nil else {
                throw CheckpointError.duplicateKey(file: source.path, key: name)
            }
        }
        return isChanged ? TensorViews(source.path, views) : source
    }

    private static let formerAttention = [
        "query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0",
    ]

    static func vae(_ key: String) -> String {
        let parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count > 3, parts[parts.count - 4] == "attentions",
            let name = formerAttention[parts[parts.count - 2]]
        else { return key }
        return (parts.dropLast(2) + [name, parts[parts.count - 1]]).joined(separator: ".")
    }

    static func isVAEAttention(_ key: String) -> Bool {
        key.contains(".attentions.")
            && [".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight"].contains { key.hasSuffix($0) }
    }

    static func text(_ key: String) -> String? {
        if key.hasSuffix("position_ids") { return nil }
        let isBare = ["embeddings.", "encoder.", "final_layer_norm."].contains { key.hasPrefix($0) }
        return isBare ? "text_model." + key : key
    }
}
