// SPDX-License-Identifier: Apache-2.0
// Precomputed time features of a list of timesteps: the outputs of every residual block's time projection, so that
// neither it nor the time embedding has to be stored (BitsFusion, section "Time caching"; lossless).
// S cached timesteps, C feature channels of a block.

import Files
import Tensors

/// Time features of some timesteps, one table per residual block.
public struct TimeFeatureTable: Sendable {
    /// The S cached timesteps, in the order of the tables' rows; no two are the same.
    public let timesteps: [Int]
    /// Per residual block (diffusers path): `[S, C]`, row i for `timesteps[i]`.
    public let features: [String: Tensor]
    private let rows: [Int: Int]

    /// A table of stored features.
    ///
    /// - Precondition: timesteps differ, and every table has one row per timestep.
    public init(timesteps: [Int], features: [String: Tensor]) {
        precondition(
            Set(timesteps).count == timesteps.count, "time feature table: timesteps \(timesteps) repeat")
        for (path, table) in features {
            precondition(
                table.rank == 2 && table.shape[0] == timesteps.count,
                "time feature table of \(path): shape \(table.shape) for \(timesteps.count) timesteps")
        }
        self.timesteps = timesteps
        self.features = features
        rows = Dictionary(uniqueKeysWithValues: timesteps.enumerated().map { ($1, $0) })
    }

    /// Number of cached values: N_tf of the method's average-bits formula.
    public var elementCount: Int {
        features.values.reduce(0) { $0 + $1.count }
    }

    /// The output of `resnetPath.time_emb_proj` at each of `timesteps`.
    ///
    /// - Parameters:
    ///   - resnetPath: diffusers path of the residual block, e.g. "down_blocks.0.resnets.0".
    ///   - timesteps: `[B]`, or `[1]` for the whole batch.
    /// - Returns: `[B, C]`, or `[1, C]` where all timesteps are the same.
    /// - Precondition: the table has the block and the timesteps (see `validate(timesteps:)`).
    public func feature(resnetPath: String, timesteps: Tensor) -> Tensor {
        guard let table = features[resnetPath] else {
            preconditionFailure("time feature table: nothing is cached for \(resnetPath)")
        }
        let indices = timesteps.values.map { timestep -> Int in
            guard let row = Int(exactly: timestep).flatMap({ rows[$0] }) else {
                preconditionFailure(
                    "time feature table: timestep \(timestep) is not one of \(self.timesteps)")
            }
            return row
        }
        if let first = indices.first, indices.allSatisfy({ $0 == first }) {
            return table.sliced(axis: 0, first..<(first + 1))
        }
        return .concatenated(indices.map { table.sliced(axis: 0, $0..<($0 + 1)) }, axis: 0)
    }

    /// Checks before a run that each of `timesteps` is cached.
    ///
    /// - Throws: `TimeFeatureError.timestepNotCached`.
    public func validate(timesteps wanted: [Int]) throws(TimeFeatureError) {
        for timestep in wanted where rows[timestep] == nil {
            throw .timestepNotCached(timestep: timestep, cached: timesteps.sorted())
        }
    }

    /// The timesteps of a sampler as integers, which time features are cached by.
    ///
    /// - Throws: `TimeFeatureError.fractionalTimestep`.
    public static func wholeTimesteps(_ timesteps: [Float]) throws(TimeFeatureError) -> [Int] {
        var result: [Int] = []
        for timestep in timesteps {
            guard let whole = Int(exactly: timestep) else { throw .fractionalTimestep(timestep) }
            result.append(whole)
        }
        return result
    }

    /// Checks that the tables are those of `model`.
    ///
    /// - Throws: `TimeFeatureError.wrongTable`, `.unknownBlock`.
    public func validate(for model: any Denoiser) throws(TimeFeatureError) {
        let blocks = model.timeFeatureChannels
        for (path, channels) in blocks {
            let expected = [timesteps.count, channels]
            let found = features[path]?.shape ?? []
            guard found == expected else { throw .wrongTable(resnetPath: path, expected: expected, found: found) }
        }
        let known = Set(blocks.map(\.path))
        if let unknown = features.keys.sorted().first(where: { !known.contains($0) }) {
            throw .unknownBlock(resnetPath: unknown)
        }
    }
}

/// Errors of cached time features.
public enum TimeFeatureError: Error, Equatable, Sendable {
    /// A timestep outside the cache; `cached` are those in it, ascending, and `steps` the numbers of sampling steps
    /// that use these only, as far as they are known.
    case timestepNotCached(timestep: Int, cached: [Int], steps: [Int] = [])
    /// A timestep that is not a whole number, which cannot be cached.
    case fractionalTimestep(Float)
    /// The cache has no (or a differently shaped) table for a residual block of the model.
    case wrongTable(resnetPath: String, expected: [Int], found: [Int])
    /// The cache has a table for a residual block that the model does not have.
    case unknownBlock(resnetPath: String)
    /// The model's time embedding depends on more than the timestep, so it cannot be tabulated.
    case dependsOnConditions(key: String, value: String)
    /// The model has no time embedding to compute features with.
    case noTimeEmbedding
}

extension TimeFeatureError {
    /// All timesteps up to a hundred; of more, the first and last twenty.
    private static func listed(_ timesteps: [Int]) -> String {
        let texts = timesteps.map(String.init)
        guard texts.count > 100 else { return texts.joined(separator: ", ") }
        return (texts.prefix(20) + ["..."] + texts.suffix(20)).joined(separator: ", ")
    }

    public var description: String {
        switch self {
        case .timestepNotCached(let timestep, let cached, let steps):
            "cached time features: timestep \(timestep) is not cached; cached are \(cached.count) timesteps "
                + "[\(Self.listed(cached))]; "
                + (steps.isEmpty
                    ? "sample with the number of steps that the model was made for"
                    : "sample with a number of steps among \(Self.listed(steps))") + ", or "
                + "pack the student again with `--cached-steps` and `--sampler` for these"
        case .fractionalTimestep(let timestep):
            "cached time features: timestep \(timestep) is not a whole number; use another sampler or another "
                + "timestep_spacing, or keep the time layers with `--cached-steps 0`"
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

extension TimeFeatureError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
