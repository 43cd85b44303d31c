// SPDX-License-Identifier: Apache-2.0
// The pictures that an analysis compares: what they show, and the noise that each starts from. K pictures.

import Checkpoints
import Pipelines
import Recipes
import Shapes
import Tensors

/// K pictures by condition and seed, the same for the full-precision and every quantized model.
public struct AnalysisSubjects {
    /// The prompt of each picture; empty where embeddings were given.
    public let prompts: [String]
    /// The file of embeddings, where one was given.
    public let embeddings: FileReference?
    /// The seed of each picture's noise.
    public let seeds: [UInt64]
    /// What each picture is conditioned on.
    public let conditions: TextConditions

    /// Pictures of the shapes world, the six prompt families in turn.
    ///
    /// - Parameters:
    ///   - count: K.
    ///   - seed: chooses captions and noise; the default's differ from the evaluation's, so that a recipe is not
    ///     made for the very prompts that judge it.
    ///   - pipeline: the model, with its text encoder.
    /// - Throws: `SensitivityError.pictures` for K < 1; `PipelineError` for models without a fitting text encoder.
    public init(promptCount count: Int, seed: UInt64 = 0, pipeline: DiffusionPipeline) throws {
        guard count > 0 else { throw SensitivityError.pictures(requested: count, available: nil) }
        let families = PromptFamily.allCases
        let perFamily = (count + families.count - 1) / families.count
        let suite = PromptSuite(promptsPerFamily: perFamily, seed: seed)
        let chosen = (0..<count).map { index in
            suite.prompts[(index % families.count) * perFamily + index / families.count]
        }
        prompts = chosen.map(\.caption.text)
        seeds = chosen.map(\.seed)
        embeddings = nil
        conditions = try TextConditions(prompts: prompts, pipeline: pipeline)
    }

    /// Pictures of these prompts; picture i starts from seed `seed + i`.
    ///
    /// - Parameters:
    ///   - prompts: in the words of the model's text encoder.
    ///   - count: K, the first of them; nil for all.
    ///   - seed: of the first picture.
    ///   - pipeline: the model, with its text encoder.
    /// - Throws: `SensitivityError.pictures` where K is not in 1 ... prompts; `PipelineError` for models without a fitting
    ///   text encoder; `CaptionError` for words that it does not know.
    public init(
        prompts: [String], count: Int? = nil, seed: UInt64 = 0, pipeline: DiffusionPipeline
    ) throws {
        let count = try Self.checked(count, available: prompts.count)
        self.prompts = Array(prompts[..<count])
        seeds = (0..<count).map { seed &+ UInt64($0) }
        embeddings = nil
        conditions = try TextConditions(prompts: self.prompts, pipeline: pipeline)
    }

    /// Pictures from a file of embeddings; picture i starts from seed `seed + i`.
    ///
    /// - Parameters:
    ///   - path: a safetensors file, see `TextConditions.init(embeddings:config:)`.
    ///   - prompts: what the rows of the file say, for scoring pictures against; none where nothing is scored.
    ///   - count: K, the first rows of the file; nil for all.
    ///   - seed: of the first picture.
    ///   - pipeline: the model.
    /// - Throws: `SensitivityError.pictures` where K is not in 1 ... rows, `.prompts` where there are not as many prompts as
    ///   rows; what reading the file throws.
    public init(
        embeddingsFile path: String, prompts: [String] = [], count: Int? = nil, seed: UInt64 = 0,
        pipeline: DiffusionPipeline
    ) throws {
        let all = try TextConditions(embeddings: path, config: pipeline.unet.config)
        guard prompts.isEmpty || prompts.count == all.count else {
            throw SensitivityError.prompts(found: prompts.count, embeddings: all.count)
        }
        let count = try Self.checked(count, available: all.count)
        self.prompts = Array(prompts.prefix(count))
        seeds = (0..<count).map { seed &+ UInt64($0) }
        embeddings = FileReference(path: path, sha256: try FileDigest.sha256(ofFile: path))
        conditions = all[0..<count]
    }

    /// The pictures of an analysis that was made before.
    ///
    /// - Throws: `SensitivityError.generation` where pictures, seeds and sizes do not fit together, `.embeddingsChanged` where the embeddings are other ones now; as the other initializers.
    init(of generation: SensitivityProtocol, pipeline: DiffusionPipeline) throws {
        let isWhole =
            !generation.seeds.isEmpty && (1...1024).contains(generation.size ?? 1)
            && (generation.prompts.count == generation.seeds.count
                || (generation.prompts.isEmpty && generation.embeddings != nil))
            && generation.timesteps.count % generation.seeds.count == 0
        guard isWhole else { throw SensitivityError.generation }
        prompts = generation.prompts
        seeds = generation.seeds
        embeddings = generation.embeddings
        guard let file = generation.embeddings else {
            conditions = try TextConditions(prompts: prompts, pipeline: pipeline)
            return
        }
        guard try FileDigest.sha256(ofFile: file.path) == file.sha256 else {
            throw SensitivityError.embeddingsChanged(path: file.path)
        }
        let all = try TextConditions(embeddings: file.path, config: pipeline.unet.config)
        _ = try Self.checked(seeds.count, available: all.count)
        conditions = all[0..<seeds.count]
    }

    private static func checked(_ count: Int?, available: Int) throws(SensitivityError) -> Int {
        let count = count ?? available
        guard count > 0, count <= available else {
            throw .pictures(requested: count, available: available)
        }
        return count
    }
}
