// SPDX-License-Identifier: Apache-2.0
// The inputs of one noise prediction, read from a safetensors file and checked.
// B batch, C channels, H W sample size, T context tokens, D context dimension, P pooled text dimension.

import BitsFusion

/// Inputs under diffusers' names.
struct NoisePredictionInputs {
    /// [B, C, H, W]
    let sample: Tensor
    /// [B] or [1]
    let timestep: Tensor
    /// [B, T, D], nil for models without cross-attention
    let encoderHiddenStates: Tensor?
    /// SDXL: [B, P] and [B, 6]
    let added: AddedConditions?

    /// Reads and checks a safetensors file.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, `CheckpointError`, `DenoiserInputError`.
    init(contentsOf path: String, config: any DenoiserConfig) throws {
        let file = try SafetensorsReader(path)
        let names = ["sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids"]
        if let extra = file.keys.first(where: { !names.contains($0) }) {
            throw DenoiserInputError.unexpected(name: extra)
        }
        func optional(_ key: String) throws -> Tensor? {
            file.stored(key) == nil ? nil : try Self.floats(key, of: file)
        }
        sample = try Self.floats("sample", of: file)
        let timestep = try Self.floats("timestep", of: file)
        // diffusers accepts a scalar timestep for the whole batch.
        self.timestep = timestep.rank == 0 ? timestep.reshaped([1]) : timestep
        encoderHiddenStates = try optional("encoder_hidden_states")
        let (text, ids) = (try optional("text_embeds"), try optional("time_ids"))
        try config.validate(
            sample: sample.shape, timestep: self.timestep.shape,
            encoderHiddenStates: encoderHiddenStates?.shape, textEmbeds: text?.shape, timeIDs: ids?.shape)
        if let text, let ids {
            added = AddedConditions(textEmbeds: text, timeIDs: ids)
        } else {
            added = nil
        }
    }

    /// Checks that a model with cached time features has those of these timesteps.
    ///
    /// - Throws: `TimeFeatureError.timestepNotCached`; `CommandError` for a timestep that is not a whole number.
    func checkCached(by denoiser: any Denoiser) throws {
        guard let cache = denoiser.timeFeatures else { return }
        let timesteps = try timestep.values.map { value in
            guard let timestep = Int(exactly: value) else {
                throw CommandError(
                    .badData,
                    "timestep: not cached: expected a whole number, found \(value); the time features of this model "
                        + "are cached"
                )
            }
            return timestep
        }
        try cache.validate(timesteps: timesteps)
    }

    /// One pass, `[B, C, H, W]`.
    func predict(_ denoiser: any Denoiser) throws -> Tensor {
        withoutGradients {
            denoiser(
                sample, timesteps: timestep, encoderHiddenStates: encoderHiddenStates, addedConditions: added)
        }
    }

    /// The tensor `key`, integers (timesteps, sizes) as floats.
    private static func floats(_ key: String, of file: SafetensorsReader) throws -> Tensor {
        guard file.stored(key) != nil else { throw DenoiserInputError.missing(name: key, neededBy: "every model") }
        return try file.input(key)
    }
}
