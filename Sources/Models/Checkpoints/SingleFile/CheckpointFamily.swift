// SPDX-License-Identifier: Apache-2.0
// Which model a single file holds, told from the names and shapes of its tensors, as diffusers does
// (loaders/single_file_utils.py: infer_diffusers_model_type).

/// The Stable Diffusion models whose checkpoints are read.
enum CheckpointFamily: Equatable, Sendable {
    /// CLIP ViT-L as text encoder.
    case sd1
    /// OpenCLIP ViT-H as text encoder.
    case sd2
    /// Both CLIP ViT-L and OpenCLIP ViT-bigG.
    case sdxl

    /// Prefixes of the names of a UNet: those of complete checkpoints, and none where a file holds a UNet alone.
    static let unetPrefixes = ["model.diffusion_model.", "diffusion_model.", ""]

    /// Determines the family of a file.
    ///
    /// - Returns: the family and the prefix of the UNet's names.
    /// - Throws: `SingleFileError.otherModel`, `.componentFile`, `.unknown`; `WeightFilesError.lora`.
    static func find(in source: SafetensorsReader) throws -> (family: CheckpointFamily, unetPrefix: String) {
        let keys = source.keys
        if LoRAKeys.isLoRA(keys) { throw WeightFilesError.lora(file: source.path) }
        if let name = otherModel(keys) { throw SingleFileError.otherModel(file: source.path, name: name) }
        guard let prefix = unetPrefixes.first(where: { source.stored($0 + "input_blocks.0.0.weight") != nil }) else {
            if isComponent(keys) { throw SingleFileError.componentFile(file: source.path) }
            if let name = partialModel(keys) { throw SingleFileError.otherModel(file: source.path, name: name) }
            throw SingleFileError.unknown(file: source.path, keys: keys)
        }
        func has(_ start: String) -> Bool { keys.contains { $0.hasPrefix(start) } }
        let hasLabel = source.stored(prefix + "label_emb.0.0.weight") != nil
        if has("conditioner.embedders.1.") || hasLabel && !has("cond_stage_model.") { return (.sdxl, prefix) }
        if hasLabel { throw SingleFileError.otherModel(file: source.path, name: "Stable unCLIP") }
        if has("cond_stage_model.model.") { return (.sd2, prefix) }
        if has("cond_stage_model.transformer.") { return (.sd1, prefix) }
        // A UNet alone: OpenCLIP's text features have 1024 channels, and its UNets linear projections.
        let attention = keys.first { $0.hasPrefix(prefix) && $0.hasSuffix(".proj_in.weight") }
        let isLinear = attention.flatMap { source.stored($0)?.shape.count } == 2
        return (isLinear ? .sd2 : .sd1, prefix)
    }

    /// Models that other parts of a name tell.
    private static let markers: [(part: String, name: String)] = [
        ("joint_blocks.", "Stable Diffusion 3"), ("double_blocks.", "FLUX"), ("single_transformer_blocks.", "FLUX"),
        ("conditioner.embedders.0.model.", "the SDXL refiner"), ("control_model.", "a ControlNet"),
        ("controlnet_cond_embedding.", "a ControlNet"), ("motion_modules.", "AnimateDiff's motion modules"),
        ("time_stack.", "Stable Video Diffusion"), ("clip_txt_mapper.", "Stable Cascade"),
        ("depth_model.", "Stable Diffusion 2 depth"), ("edm_mean", "Playground v2.5"),
        ("diffusion_model.label_emb.weight", "the Stable Diffusion x4 upscaler"), ("emb_params", "a textual inversion"),
        ("string_to_param", "a textual inversion"), ("double_layers.", "AuraFlow"), ("audio_vae.", "LTX-Video"),
    ]

    private static func otherModel(_ keys: [String]) -> String? {
        for marker in markers where keys.contains(where: { $0.contains(marker.part) }) { return marker.name }
        if keys == ["clip_g", "clip_l"] { return "a textual inversion" }
        return nil
    }

    /// Whether the names are those of a component's own file.
    private static func isComponent(_ keys: [String]) -> Bool {
        let starts = [
            "down_blocks.", "encoder.down_blocks.", "decoder.up_blocks.", "text_model.", "embeddings.token_embedding.",
        ]
        return keys.contains { key in starts.contains { key.hasPrefix($0) } }
    }

    private static func partialModel(_ keys: [String]) -> String? {
        func has(_ starts: String...) -> Bool { keys.contains { key in starts.contains { key.hasPrefix($0) } } }
        if has("first_stage_model.", "vae.", "encoder.down.", "decoder.up.") { return "a VAE without a UNet" }
        if has("cond_stage_model.", "conditioner.", "transformer.resblocks.") { return "a text encoder without a UNet" }
        if has("model.diffusion_model.") { return "a denoiser that is not a UNet" }
        return nil
    }
}
