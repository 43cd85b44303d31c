// SPDX-License-Identifier: Apache-2.0
// The text encoders of a single file. CLIP ViT-L has the names of transformers behind a prefix. OpenCLIP's have their
// own names:
//
//     token_embedding.weight, positional_embedding    text_model.embeddings.{token,position}_embedding.weight
//     transformer.resblocks.N.ln_1, ln_2              text_model.encoder.layers.N.layer_norm1, layer_norm2
//     ....attn.in_proj_weight, in_proj_bias           ....self_attn.{q,k,v}_proj, a third of the rows each
//     ....attn.out_proj, mlp.c_fc, mlp.c_proj         ....self_attn.out_proj, mlp.fc1, mlp.fc2
//     ln_final, text_projection                       text_model.final_layer_norm, text_projection.weight, transposed
//
// SD 2.x uses the features before the last of 24 layers, and its text encoder in diffusers has the other 23.

/// A text encoder of a single file.
struct SingleFileTextEncoder {
    /// The tensors under the names of transformers.
    let tensors: TensorViews
    /// The extent of the pooled text embedding; nil without a projection.
    let projectionDim: Int?
    private let isOpenCLIP: Bool

    /// CLIP in the names of transformers, behind `prefix`.
    ///
    /// - Throws: `SingleFileError.unknownKeys`, `CheckpointError.duplicateKey`.
    init(clip source: any TensorSource, prefix: String) throws {
        var views: [String: TensorView] = [:]
        var unknown: [String] = []
        for key in source.keys where key.hasPrefix(prefix) {
            let rest = String(key.dropFirst(prefix.count))
            // Merged checkpoints carry parts of the whole CLIP, which have no place in `CLIPTextModel`.
            if ["logit_scale", "text_projection", "vision_model."].contains(where: { rest.hasPrefix($0) }) { continue }
            guard let name = ComponentNames.text(rest) else { continue }
            guard name.hasPrefix("text_model.") else {
                unknown.append(key)
                continue
            }
            guard views.updateValue(try TensorView(source, key), forKey: name) == nil else {
                throw CheckpointError.duplicateKey(file: source.path, key: name)
            }
        }
        try Self.check(unknown, source)
        tensors = TensorViews(source.path, views)
        projectionDim = nil
        isOpenCLIP = false
    }

    /// OpenCLIP behind `prefix`.
    ///
    /// - Parameters:
    ///   - source: the file.
    ///   - prefix: what the names begin with.
    ///   - hasProjection: whether the model uses the pooled embedding; else neither the projection is kept nor the last
    ///     of 24 layers.
    /// - Throws: `SingleFileError.unknownKeys`, `.layout`.
    init(openCLIP source: any TensorSource, prefix: String, hasProjection: Bool) throws {
        var views: [String: TensorView] = [:]
        var unknown: [String] = []
        var projection: Int?
        for key in source.keys where key.hasPrefix(prefix) {
            let name = String(key.dropFirst(prefix.count))
            if ["logit_scale", "attn_mask", "transformer.text_model.embeddings.position_ids"].contains(name)
                || name.hasPrefix("visual.") || !hasProjection && Self.isUnused(name)
            {
                continue
            }
            let view = try TensorView(source, key)
            if name == "text_projection" {
                try Self.require(view, rank: 2, source)
                projection = view.stored.shape[1]
                views["text_projection.weight"] = view.transposed
            } else if let (attention, part) = Self.fusedProjection(name) {
                try Self.require(view, rank: part == "weight" ? 2 : 1, source)
                guard view.stored.shape[0] % 3 == 0 else { throw Self.layout(view, source) }
                for (index, letter) in ["q", "k", "v"].enumerated() {
                    views["\(attention).self_attn.\(letter)_proj.\(part)"] = view.part(index, of: 3)
                }
            } else if let renamed = Self.transformers(name) {
                views[renamed] = view
            } else {
                unknown.append(key)
            }
        }
        try Self.check(unknown, source)
        tensors = TensorViews(source.path, views)
        projectionDim = projection
        isOpenCLIP = true
    }

    /// The class in transformers.
    var className: String { projectionDim == nil ? "CLIPTextModel" : "CLIPTextModelWithProjection" }

    /// The text of `config.json`, as diffusers' repositories have it. The number of attention heads cannot be read
    /// from weights: one for 64 channels.
    ///
    /// - Throws: `CheckpointError.missingKey` and `SingleFileError.layout` where sizes cannot be read.
    func config() throws -> String {
        func shape(_ key: String) throws -> [Int] {
            let found = try tensors.require(key)
            guard found.shape.count == 2 else {
                throw SingleFileError.layout(
                    file: tensors.path, component: "text_encoder", reason: "\(key) has the shape \(found.shape)")
            }
            return found.shape
        }
        let tokens = try shape("text_model.embeddings.token_embedding.weight")
        let positions = try shape("text_model.embeddings.position_embedding.weight")
        let inner = try shape("text_model.encoder.layers.0.mlp.fc1.weight")
        let layers = (0...).prefix {
            tensors.stored("text_model.encoder.layers.\($0).layer_norm1.weight") != nil
        }.count
        return ConfigText.json([
            "architectures": [.text(className)], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0,
            "eos_token_id": 2, "hidden_act": isOpenCLIP ? "gelu" : "quick_gelu", "hidden_size": .int(tokens[1]),
            "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": .int(inner[0]),
            "layer_norm_eps": 1e-05, "max_position_embeddings": .int(positions[0]), "model_type": "clip_text_model",
            "num_attention_heads": .int(max(1, tokens[1] / 64)), "num_hidden_layers": .int(layers),
            "pad_token_id": 1, "projection_dim": .int(projectionDim ?? (isOpenCLIP ? 512 : 768)),
            "vocab_size": .int(tokens[0]),
        ])
    }

    // MARK: OpenCLIP's names

    private static let layers = "transformer.resblocks."
    private static let renamed = [
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight", "ln_final.bias": "text_model.final_layer_norm.bias",
    ]
    private static let layerParts = [
        "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    ]

    private static func isUnused(_ name: String) -> Bool {
        name == "text_projection" || name.hasPrefix(layers + "23.")
    }

    /// The layer's name in transformers, and "weight" or "bias", of a tensor that holds query, key and value.
    private static func fusedProjection(_ name: String) -> (layer: String, part: String)? {
        for part in ["weight", "bias"] where name.hasPrefix(layers) && name.hasSuffix(".attn.in_proj_" + part) {
            let index = name.dropFirst(layers.count).dropLast(".attn.in_proj_".count + part.count)
            if Int(index) != nil { return ("text_model.encoder.layers.\(index)", part) }
        }
        return nil
    }

    private static func transformers(_ name: String) -> String? {
        if let key = renamed[name] { return key }
        guard name.hasPrefix(layers) else { return nil }
        let parts = name.dropFirst(layers.count).split(separator: ".")
        guard parts.count > 2, Int(parts[0]) != nil,
            let part = layerParts[parts[1..<parts.count - 1].joined(separator: ".")]
        else { return nil }
        return "text_model.encoder.layers.\(parts[0]).\(part).\(parts[parts.count - 1])"
    }

    private static func require(_ view: TensorView, rank: Int, _ source: any TensorSource) throws {
        guard view.stored.shape.count == rank else { throw layout(view, source) }
    }

    private static func layout(_ view: TensorView, _ source: any TensorSource) -> SingleFileError {
        .layout(file: source.path, component: "text_encoder", reason: "\(view.key) has the shape \(view.stored.shape)")
    }

    private static func check(_ unknown: [String], _ source: any TensorSource) throws {
        guard unknown.isEmpty else {
            throw SingleFileError.unknownKeys(file: source.path, component: "text_encoder", keys: unknown)
        }
    }
}
