// SPDX-License-Identifier: Apache-2.0
// The cached time features of a packed model in a checkpoint file. S timesteps; C channels of a residual block.
//
//     /time_features/timesteps       int64 [S]
//     /time_features/<resnet path>   float16 [S, C], row i for timesteps[i]

import Files
import Tensors

/// Cached time features: one table of projected features per residual block.
public struct TimeFeatureRecord: Sendable {
    /// The S cached timesteps, all different.
    public let timesteps: [Int]
    /// The features `[S, C]` of each residual block, by its diffusers path.
    public let features: [String: Tensor]

    /// - Precondition: all tables have one row per timestep.
    public init(timesteps: [Int], features: [String: Tensor]) {
        for (path, table) in features {
            precondition(
                table.rank == 2 && table.shape[0] == timesteps.count,
                "time features of \(path): shape \(table.shape) for \(timesteps.count) timesteps")
        }
        self.timesteps = timesteps
        self.features = features
    }
}

extension CheckpointWriter {
    /// Writes cached time features as float16.
    ///
    /// - Throws: `CheckpointError.exceedsType` if a feature exceeds the range of float16, `.invalidKey`,
    ///   `.duplicateKey`; `HDF5Error`; `FileError.writeFailed`.
    public func write(_ record: TimeFeatureRecord) throws {
        let timesteps = record.timesteps.map { Int64($0) }
        try write(
            CheckpointName.timesteps, in: .timeFeatures, type: .int64, shape: [timesteps.count], elements: timesteps)
        for (path, table) in record.features.sorted(by: { byBytes($0.key, $1.key) }) {
            try write(path, in: .timeFeatures, table, as: .float16)
        }
    }
}

extension CheckpointReader {
    /// Timesteps must be below this limit, so that they are exact in Float32.
    private static let timestepLimit = 1_000_000

    /// The cached time features; nil if the file has none and contains the time layers instead.
    ///
    /// - Throws: `HDF5Error.object` if the timesteps are not different numbers in the supported range;
    ///   `CheckpointError.shapeMismatch` if a table does not have one row per timestep; `CheckpointError.missingKey`,
    ///   `.elementType`, `.notFinite`.
    public func timeFeatures() throws -> TimeFeatureRecord? {
        guard let tensors = section(.timeFeatures) else { return nil }
        let timesteps = try tensors.integers(CheckpointName.timesteps)
        guard !timesteps.isEmpty, timesteps.count <= Self.timestepLimit,
            Set(timesteps).count == timesteps.count,
            timesteps.allSatisfy({ (0..<Self.timestepLimit).contains($0) })
        else {
            let shown = timesteps.prefix(20).map(String.init).joined(separator: ", ")
            throw HDF5Error.object(
                file: path, object: CheckpointSection.timeFeatures.object(CheckpointName.timesteps),
                fault: .value(
                    expected: "different timesteps from 0 to \(Self.timestepLimit - 1)",
                    found: "[\(shown)\(timesteps.count > 20 ? ", ..." : "")]"))
        }
        var features: [String: Tensor] = [:]
        for key in tensors.keys where key != CheckpointName.timesteps {
            let table = try tensors.tensor(key)
            guard table.rank == 2, table.shape[0] == timesteps.count else {
                throw CheckpointError.shapeMismatch(
                    file: path, key: key, expected: [timesteps.count, table.shape.last ?? 0],
                    found: table.shape)
            }
            features[key] = table
        }
        return TimeFeatureRecord(timesteps: timesteps, features: features)
    }
}
