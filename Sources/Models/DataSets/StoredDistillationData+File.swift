// SPDX-License-Identifier: Apache-2.0
// Latents and text embeddings from an HDF5 set, as `Docs/Formats.md` describes it.

import Checkpoints
import Networks
import Pipelines
import Tensors

extension StoredDistillationData {
    /// Reads a whole set into memory. Other datasets of the file, such as the captions' `text`, are not looked at.
    ///
    /// - Parameters:
    ///   - path: an HDF5 file with `latents` `[N, C, H, W]`, `encoder_hidden_states` `[N, T, D]` and
    ///     `empty_hidden_states` `[1, T, D]`.
    ///   - config: the model that is trained; C and D must be its.
    /// - Throws: `PipelineError.furtherConditions` for SDXL's kind of model; `CheckpointError` for a file that cannot be read, holds values that are not finite, or has shapes that
    ///   do not belong together or to the model.
    public init(contentsOf path: String, for config: any DenoiserConfig) throws {
        if let type = config.addedConditionsType {
            throw PipelineError.furtherConditions(value: type)
        }
        let set = try HDF5Tensors(
            path, group: "/", naming: .paths,
            only: ["latents", "encoder_hidden_states", "empty_hidden_states"])
        let latents = try set.tensor("latents")
        let count = latents.shape.first ?? 0
        let spatial = latents.rank == 4 ? Array(latents.shape.suffix(2)) : [0, 0]
        try Self.check(
            set, "latents", latents, [max(count, 1), config.inChannels] + spatial.map { max($0, 1) })
        let states = try set.tensor("encoder_hidden_states")
        let tokens = states.rank == 3 ? states.shape[1] : 0
        let width = config.contextSize
        try Self.check(set, "encoder_hidden_states", states, [count, max(tokens, 1), width])
        let empty = try set.tensor("empty_hidden_states")
        try Self.check(set, "empty_hidden_states", empty, [1, tokens, width])
        self.init(latents: latents, encoderHiddenStates: states, emptyHiddenStates: empty)
    }

    private static func check(
        _ set: HDF5Tensors, _ key: String, _ tensor: Tensor, _ expected: [Int]
    ) throws(CheckpointError) {
        guard tensor.shape == expected else {
            throw .shapeMismatch(file: set.path, key: key, expected: expected, found: tensor.shape)
        }
    }
}
