// SPDX-License-Identifier: Apache-2.0
// A single file with the names of the original repositories as a pipeline: components, and the configs that diffusers'
// repositories have for this model.
//
//     model.diffusion_model.*                                                   unet
//     first_stage_model.*                                                       vae
//     cond_stage_model.transformer.*                                            text_encoder of SD 1.x
//     cond_stage_model.model.*                                                  text_encoder of SD 2.x
//     conditioner.embedders.0.transformer.*, conditioner.embedders.1.model.*    text_encoder, text_encoder_2 of SDXL

import Files

/// The parts of a pipeline in a single file.
struct SingleFileCheckpoint {
    let components: [SourceComponent]
    let tokenizers: [String: [String: String]]
    let scheduler: String
    let modelIndex: String
    let omitted: [OmittedPart]

    /// Opens `path` and reads names, shapes, and what tells the prediction type.
    ///
    /// - Parameters:
    ///   - path: a safetensors file.
    ///   - predictionType: `epsilon` or `v_prediction`; nil lets the file decide.
    /// - Throws: as `PipelineSource.init`.
    init(_ path: String, predictionType: String?) throws {
        if let predictionType, !["epsilon", "v_prediction"].contains(predictionType) {
            throw SingleFileError.predictionType(found: predictionType)
        }
        let source = try SafetensorsReader(path)
        if let key = Float8Scales.key(in: source) { throw CheckpointError.scaledFloat8(file: path, key: key) }
        let (family, unetPrefix) = try CheckpointFamily.find(in: source)
        let unet = try LDMUNet(source, prefix: unetPrefix)
        let encoders = try Self.textEncoders(source, family)
        let vaePrefix = LDMAutoencoder.prefixes.first { prefix in source.keys.contains { $0.hasPrefix(prefix) } }
        let vae = try vaePrefix.map { prefix throws in try LDMAutoencoder(source, prefix: prefix) }

        let prediction = SingleFilePrediction(
            source, family: family, unet: unet, unetPrefix: unetPrefix, asked: predictionType)
        let documents = SingleFileDocuments(family: family, inChannels: unet.inChannels, prediction: prediction)
        var components = [
            SourceComponent(
                name: "unet", className: "UNet2DConditionModel",
                config: try unet.config(
                    family, sampleSize: documents.imageSize / 8, pooledChannels: encoders.last?.encoder.projectionDim),
                tensors: unet.tensors)
        ]
        if let vae {
            components.append(
                SourceComponent(
                    name: "vae", className: "AutoencoderKL",
                    config: try vae.config(family, sampleSize: documents.imageSize), tensors: vae.tensors))
        }
        for (name, _, encoder) in encoders {
            components.append(
                SourceComponent(
                    name: name, className: encoder.className, config: try encoder.config(), tensors: encoder.tensors))
        }
        self.components = components
        tokenizers = documents.tokenizers()
        scheduler = documents.scheduler()
        modelIndex = documents.modelIndex(components)
        let prefixes = [unetPrefix, vaePrefix ?? ""] + encoders.map(\.prefix)
        omitted = Self.omitted(source, prefixes.filter { !$0.isEmpty }, unetPrefix, components, family)
    }

    private typealias Encoder = (name: String, prefix: String, encoder: SingleFileTextEncoder)

    private static func textEncoders(_ source: any TensorSource, _ family: CheckpointFamily) throws -> [Encoder] {
        func has(_ prefix: String) -> Bool { source.keys.contains { $0.hasPrefix(prefix) } }
        var encoders: [Encoder] = []
        let clip = family == .sdxl ? "conditioner.embedders.0.transformer." : "cond_stage_model.transformer."
        if family != .sd2, has(clip) {
            encoders.append(("text_encoder", clip, try SingleFileTextEncoder(clip: source, prefix: clip)))
        }
        let open = family == .sdxl ? "conditioner.embedders.1.model." : "cond_stage_model.model."
        if family != .sd1, has(open) {
            let encoder = try SingleFileTextEncoder(openCLIP: source, prefix: open, hasProjection: family == .sdxl)
            if family == .sdxl && encoder.projectionDim == nil {
                throw CheckpointError.missingKey(file: source.path, key: open + "text_projection")
            }
            encoders.append((family == .sdxl ? "text_encoder_2" : "text_encoder", open, encoder))
        }
        return encoders
    }

    /// Buffers of the noise schedule in checkpoints of the original repositories; the scheduler config has the same.
    private static let scheduleBuffers: Set<String> = [
        "alphas_cumprod", "alphas_cumprod_prev", "betas", "log_one_minus_alphas_cumprod", "logvar",
        "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "posterior_variance",
        "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
    ]

    /// Components that the file does not have, and tensors that belong to none, by the first part of their names.
    private static func omitted(
        _ source: any TensorSource, _ prefixes: [String], _ unetPrefix: String, _ components: [SourceComponent],
        _ family: CheckpointFamily
    ) -> [OmittedPart] {
        let expected = ["vae", "text_encoder"] + (family == .sdxl ? ["text_encoder_2"] : [])
        let missing = expected.filter { name in !components.contains { $0.name == name } }
        var counts: [String: Int] = [:]
        for key in source.keys where !prefixes.contains(where: { key.hasPrefix($0) }) {
            if unetPrefix.isEmpty, LDMUNet.isNameWithoutPrefix(key) { continue }
            let name = String(key.prefix { $0 != "." })
            if !scheduleBuffers.contains(name) { counts[name, default: 0] += 1 }
        }
        let others = counts.sorted { byBytes($0.key, $1.key) }.map { name, count in
            let kind = name == "model_ema" ? ": moving averages of the weights" : " that no component has"
            return OmittedPart(name: name, reason: counted(count, "tensor") + kind)
        }
        return missing.map { OmittedPart(name: $0, reason: "not in the file") } + others
    }
}

/// What the UNet of a single file predicts. The weights of SD 2.x in 512x512 (noise) and 768x768 (velocity) have the
/// same names and shapes.
struct SingleFilePrediction: Equatable {
    /// `epsilon` or `v_prediction`.
    let type: String
    /// Whether the noise schedule ends with pure noise, which some fine-tuned SDXL models mark.
    let hasZeroTerminalSNR: Bool

    /// Decides, in this order, by the option, the file's metadata, the tensor `v_pred` that fine-tuned SDXL models
    /// carry, the step count of SD 2.0 base as diffusers does, and, for SD 2.x with 4 input channels, the spread of one
    /// bias, which is above 0.09 in models that predict the velocity (ComfyUI's criterion).
    init(_ source: SafetensorsReader, family: CheckpointFamily, unet: LDMUNet, unetPrefix: String, asked: String?) {
        hasZeroTerminalSNR = source.stored("ztsnr") != nil
        if let asked {
            type = asked
        } else if let found = source.metadata["modelspec.prediction_type"] {
            type = ["v", "v_prediction", "velocity"].contains(found) ? "v_prediction" : "epsilon"
        } else if source.stored("v_pred") != nil {
            type = "v_prediction"
        } else if family == .sd2, unet.inChannels == 4, !Self.isBase(source) {
            type = Self.biasSpread(source, unetPrefix).map { $0 > 0.09 } == false ? "epsilon" : "v_prediction"
        } else {
            type = "epsilon"
        }
    }

    private static func isBase(_ source: SafetensorsReader) -> Bool {
        (try? source.integers("global_step")) == [875_000]
    }

    /// The standard deviation of a bias of the last transformer; nil where there is no such tensor.
    private static func biasSpread(_ source: SafetensorsReader, _ prefix: String) -> Double? {
        let key = prefix + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
        guard let values = try? source.tensor(key).values, !values.isEmpty else { return nil }
        let count = Double(values.count)
        let mean = values.reduce(0) { $0 + Double($1) } / count
        return (values.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count).squareRoot()
    }
}
