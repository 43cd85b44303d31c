// SPDX-License-Identifier: Apache-2.0
// Precomputed time features of a list of timesteps: the outputs of every residual block's time projection, so that
// neither it nor the time embedding has to be stored (BitsFusion, section "Time caching"; lossless).
// S cached timesteps, C feature channels of a block.

import Tensors

/// Time features of some timesteps, one table per residual block.
public struct TimeFeatureTable: TimeFeatureSource, Sendable {
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

    /// Computes the features of `timesteps` with the time layers of `model`; repeated timesteps are kept once.
    ///
    /// - Throws: `TimeFeatureError.dependsOnConditions` for SDXL's kind of time embedding,
    ///   `TimeFeatureError.noTimeEmbedding` for a model that was built without time layers.
    public init(_ model: UNet2DConditionModel, timesteps: [Int]) throws(TimeFeatureError) {
        if let addition = model.config.additionEmbedType {
            throw .dependsOnConditions(key: "addition_embed_type", value: addition.rawValue)
        }
        var seen: Set<Int> = []
        let distinct = timesteps.filter { seen.insert($0).inserted }
        let embedding = withoutGradients {
            model.timeEmbedding(Tensor(distinct.map(Float.init), shape: [distinct.count]))
        }
        guard let embedding else { throw .noTimeEmbedding }
        var features: [String: Tensor] = [:]
        for resnet in model.resnets {
            features[resnet.path] = withoutGradients { resnet.timeFeature(.embedding(embedding)) }
        }
        self.init(timesteps: distinct, features: features)
    }

    /// Number of cached values: N_tf of the method's average-bits formula.
    public var elementCount: Int {
        features.values.reduce(0) { $0 + $1.count }
    }

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

    public func validate(timesteps wanted: [Int]) throws {
        for timestep in wanted where rows[timestep] == nil {
            throw TimeFeatureError.timestepNotCached(timestep: timestep, cached: timesteps.sorted())
        }
    }

    /// Checks that the tables are those of `model`.
    ///
    /// - Throws: `TimeFeatureError.wrongTable`.
    public func validate(for model: UNet2DConditionModel) throws(TimeFeatureError) {
        for resnet in model.resnets {
            let expected = [timesteps.count, resnet.timeFeatureChannels]
            let found = features[resnet.path]?.shape ?? []
            guard found == expected else {
                throw .wrongTable(resnetPath: resnet.path, expected: expected, found: found)
            }
        }
        let known = Set(model.resnets.map(\.path))
        if let stray = features.keys.sorted().first(where: { !known.contains($0) }) {
            throw .unknownBlock(resnetPath: stray)
        }
    }
}
