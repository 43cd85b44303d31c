// SPDX-License-Identifier: Apache-2.0
// Where residual blocks get their time feature: from the time embedding, or from a cache that replaces the
// embedding and projection layers (BitsFusion, section "Time caching"). B batch, C feature channels.

import Files
import Tensors

/// Projected time features by residual block and timestep.
public protocol TimeFeatureSource {
    /// The output of `resnetPath.time_emb_proj` at each of `timesteps`.
    ///
    /// - Parameters:
    ///   - resnetPath: diffusers path of the residual block, e.g. "down_blocks.0.resnets.0".
    ///   - timesteps: `[B]`, or `[1]` for the whole batch.
    /// - Returns: `[B, C]`, or `[1, C]` where all timesteps are the same.
    /// - Precondition: the source has the block and the timesteps (see `validate(timesteps:)`).
    func feature(resnetPath: String, timesteps: Tensor) -> Tensor

    /// Checks before a run that every one of `timesteps` can be asked for.
    ///
    /// - Throws: `TimeFeatureError.timestepNotCached`.
    func validate(timesteps: [Int]) throws
}

/// Time features that are not there.
public enum TimeFeatureError: Error, Equatable, Sendable {
    /// A timestep outside the cache; `cached` are those in it, ascending.
    case timestepNotCached(timestep: Int, cached: [Int])
    /// The cache has no (or a differently shaped) table for a residual block of the model.
    case wrongTable(resnetPath: String, expected: [Int], found: [Int])
    /// The cache has a table for a residual block that the model has not.
    case unknownBlock(resnetPath: String)
    /// The model's time embedding depends on more than the timestep, so it cannot be tabulated.
    case dependsOnConditions(key: String, value: String)
    /// The model has no time embedding to compute features with.
    case noTimeEmbedding
}

extension TimeFeatureError {
    /// Up to a hundred timesteps whole, the first and last ones of more.
    private static func listed(_ timesteps: [Int]) -> String {
        let texts = timesteps.map(String.init)
        guard texts.count > 100 else { return texts.joined(separator: ", ") }
        return (texts.prefix(20) + ["..."] + texts.suffix(20)).joined(separator: ", ")
    }

    public var description: String {
        switch self {
        case .timestepNotCached(let timestep, let cached):
            "cached time features: timestep \(timestep) is not cached; cached are \(cached.count) timesteps "
                + "[\(Self.listed(cached))]; sample with the number of steps that the model was made for, or "
                + "pack the student again with `--cached-steps` and `--sampler` for these"
        case .wrongTable(let path, let expected, let found):
            "cached time features of \(path): expected shape \(expected), found "
                + (found.isEmpty ? "nothing" : "\(found)") + "; check that they belong to this config.json"
        case .unknownBlock(let path):
            "cached time features: the model has no residual block \(path); check that they belong to this config.json"
        case .dependsOnConditions(let key, let value):
            "time features cannot be cached: with config key \(key) \(value) they depend on more than the timestep; "
                + "keep the time embedding layers"
        case .noTimeEmbedding:
            "time features cannot be computed: the model has no time embedding layers; use its cached features"
        }
    }
}

/// What one forward pass hands to the residual blocks.
enum TimeConditioning {
    /// The time embedding behind its activation, `[B or 1, timeEmbeddingDim]`.
    case embedding(Tensor)
    /// Finished features.
    case features(any TimeFeatureSource, timesteps: Tensor)
}

extension TimeFeatureError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
