// SPDX-License-Identifier: Apache-2.0
// Randomly initialized models, for benchmarks and size studies, written parameter by parameter, so that memory holds no
// more than one of them. Weights are Gaussian with standard deviation 1 / sqrt(fan-in), norms 1, biases 0.

import Checkpoints
import Layers
import Networks
import Recipes
import Tensors

/// Writes randomly initialized models.
public enum RandomModel {
    /// Writes a denoiser of the architecture `config`.
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - seed: of all random numbers; the same seed gives the same values on every machine.
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - type: the type of every tensor.
    ///   - progress: called with the share of the parameters written, 0...1; it may throw to interrupt.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `RecipeError`, and what `progress` throws.
    public static func write(
        _ config: any DenoiserConfig, seed: UInt64, to path: String, manifest: RunManifest,
        as type: ElementType = .float32, progress: (Double) throws -> Void = { _ in }
    ) throws {
        let inventory = try config.inventory()
        let header = CheckpointHeader(.model, of: config, manifest: try manifest.json())
        let writer = try CheckpointWriter(path, header: header)
        try withoutActuallyEscaping(progress) { progress in
            let provider = WritingProvider(
                random: RandomParameterProvider(seed: seed), writer: writer, type: type,
                total: inventory.weightCount + inventory.otherParameters, progress: progress)
            _ = try config.model(ParameterPath(ParameterStore(provider: provider)), timeFeatures: nil)
        }
        try writer.finish()
    }
}

/// Writes every parameter that a model requests, and returns its shape without values.
private final class WritingProvider: ParameterProvider {
    private let random: RandomParameterProvider
    private let writer: CheckpointWriter
    private let type: ElementType
    private let total: Int
    private let progress: (Double) throws -> Void
    private var done = 0

    init(
        random: RandomParameterProvider, writer: CheckpointWriter, type: ElementType, total: Int,
        progress: @escaping (Double) throws -> Void
    ) {
        self.random = random
        self.writer = writer
        self.type = type
        self.total = total
        self.progress = progress
    }

    func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        let value = random.weight(key, shape: shape, initializer: initializer)
        try writer.write(key, withoutGradients { value.tensor() }, as: type)
        done += shape.reduce(1, *)
        try progress(Double(done) / Double(max(total, 1)))
        return shape.count > 1 ? ShapeOnlyWeight(shape) : value
    }
}
