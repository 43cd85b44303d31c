// SPDX-License-Identifier: Apache-2.0
// The configs beside the networks that a single file does not contain, as in diffusers' repositories of SD 1.5, 2.1 and
// SDXL base.

/// Scheduler, tokenizers and pipeline class of a single file.
struct SingleFileDocuments {
    let family: CheckpointFamily
    /// 4, 9 for inpainting (latents, mask, masked image), 8 for instruct-pix2pix (latents, image).
    let inChannels: Int
    let prediction: SingleFilePrediction

    private var isVelocity: Bool { prediction.type == "v_prediction" }

    /// Height and width of the images in training.
    var imageSize: Int {
        switch family {
        case .sd1: 512
        case .sd2: isVelocity ? 768 : 512
        case .sdxl: 1024
        }
    }

    /// The text of `scheduler_config.json`.
    func scheduler() -> String {
        var members: [String: ConfigValue] = [
            "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
            "prediction_type": .text(prediction.type), "steps_offset": 1, "trained_betas": .null,
        ]
        switch (family, inChannels) {
        case (.sdxl, _):
            members["_class_name"] = "EulerDiscreteScheduler"
            members["interpolation_type"] = "linear"
            members["timestep_spacing"] = prediction.hasZeroTerminalSNR ? "trailing" : "leading"
            members["use_karras_sigmas"] = false
            if prediction.hasZeroTerminalSNR { members["rescale_betas_zero_snr"] = true }
        case (_, 8):
            members["_class_name"] = "EulerAncestralDiscreteScheduler"
        default:
            members["_class_name"] = isVelocity ? "DDIMScheduler" : "PNDMScheduler"
            members["set_alpha_to_one"] = false
            if isVelocity { members["clip_sample"] = false } else { members["skip_prk_steps"] = true }
        }
        return ConfigText.json(members)
    }

    /// The text of `model_index.json`.
    func modelIndex(_ components: [SourceComponent]) -> String {
        let name =
            switch (family, inChannels) {
            case (.sdxl, 9): "StableDiffusionXLInpaintPipeline"
            case (.sdxl, 8): "StableDiffusionXLInstructPix2PixPipeline"
            case (.sdxl, _): "StableDiffusionXLPipeline"
            case (_, 9): "StableDiffusionInpaintPipeline"
            case (_, 8): "StableDiffusionInstructPix2PixPipeline"
            default: "StableDiffusionPipeline"
            }
        let settings: [String: ConfigValue] = family == .sdxl ? ["force_zeros_for_empty_prompt": true] : [:]
        return ConfigText.modelIndex(name, components, settings)
    }

    /// The tokenizers' settings; vocabulary and merges are those of CLIP. They differ in the token that fills up short
    /// texts: OpenCLIP's is `!`, whose id is 0.
    func tokenizers() -> [String: [String: String]] {
        let end = "<|endoftext|>"
        switch family {
        case .sd1: return ["tokenizer": Self.tokenizer(padToken: end)]
        case .sd2: return ["tokenizer": Self.tokenizer(padToken: "!")]
        case .sdxl:
            return ["tokenizer": Self.tokenizer(padToken: end), "tokenizer_2": Self.tokenizer(padToken: "!")]
        }
    }

    private static func tokenizer(padToken: String) -> [String: String] {
        let tokens: [String: ConfigValue] = [
            "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": .text(padToken),
            "unk_token": "<|endoftext|>",
        ]
        let settings: [String: ConfigValue] = [
            "add_prefix_space": false, "do_lower_case": true, "errors": "replace", "model_max_length": 77,
            "tokenizer_class": "CLIPTokenizer",
        ]
        return [
            "special_tokens_map.json": ConfigText.json(tokens),
            "tokenizer_config.json": ConfigText.json(tokens.merging(settings) { value, _ in value }),
        ]
    }
}
