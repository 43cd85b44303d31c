// SPDX-License-Identifier: Apache-2.0
// Distillation on the shapes world: images rendered on the fly, captions encoded by the model's own text encoder.

import BitsFusion

/// Samples of a `ShapesDataset` with their captions, encoded by a model's own text encoder.
public struct ShapesDistillationData: DistillationData {
    public let dataset: ShapesDataset
    public let textEncoder: CLIPTextModel

    private let tokenizer: ShapesTokenizer
    /// The index in the data set of sample 0 of this data.
    private var offset = 0

    /// - Throws: `PipelineError.noTextEncoder`; `TokenizerError.unknown` for a model with another tokenizer.
    public init(_ dataset: ShapesDataset, pipeline: DiffusionPipeline) throws {
        guard let encoder = pipeline.textEncoder else { throw PipelineError.noTextEncoder }
        guard let tokenizer = pipeline.tokenizer as? ShapesTokenizer else {
            throw TokenizerError.unknown(name: pipeline.tokenizerName ?? "", known: [ShapesTokenizer.name])
        }
        self.tokenizer = tokenizer
        self.dataset = dataset
        textEncoder = encoder
    }

    /// nil: samples are rendered without end.
    public var sampleCount: Int? { nil }

    /// Training data are unchanged: their indices are never negative, those of validation are.
    public func split(
        validation count: Int, seed: UInt64
    ) -> (training: any DistillationData, validation: any DistillationData) {
        var validation = self
        validation.offset = ShapesDataset.firstValidationIndex
        return (self, validation)
    }

    public func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) -> DistillationBatch {
        let size = indices.count
        let batch = ShapesBatch(
            dataset, from: offset + indices.lowerBound, count: size,
            tokenizer: tokenizer, textDropping: textDropping)
        let states = withoutGradients { textEncoder(batch.tokens, batch: size) }
        return DistillationBatch(samples: batch.pixels, encoderHiddenStates: states)
    }
}

extension ShapesDataset {
    /// The index of the first sample for validation. Training counts its samples from 0 and does not arrive at negative
    /// indices.
    static let firstValidationIndex = -1 << 40

    /// The training data of a distillation stage. The images differ from those of the evaluation, and between stages.
    public static func distillation(_ stage: DistillationStage, seed: UInt64) -> ShapesDataset {
        ShapesDataset(seed: seed &+ UInt64(stage.rawValue) &* RandomStream.stageSeedStride)
    }
}

extension DistillationOptions {
    /// For models of the shapes world: minutes on two cores.
    public static let shapes = DistillationOptions(
        stage1: StageOptions(
            training: TrainingOptions(steps: 500, batchSize: 16, learningRate: 5e-4, saveEvery: 100),
            scaleLearningRate: 1e-4, featureLoss: .relative),
        stage2: StageOptions(
            training: TrainingOptions(
                steps: 300, batchSize: 16, learningRate: 1e-4, averageDecay: 0.99, saveEvery: 100),
            scaleLearningRate: 2e-5))
}
