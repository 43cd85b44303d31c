// SPDX-License-Identifier: Apache-2.0
// Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) as Stable Diffusion applies it: one forward
// pass over the unconditional and the conditional batch together. B batch, C channels, H W size.

import Networks
import Tensors

/// The guided prediction:
///
///     unconditional + scale · (conditional - unconditional)
///
/// - Parameters:
///   - unconditional: prediction for the empty (or negative) prompt.
///   - conditional: prediction for the prompt, the same shape.
///   - scale: 1 gives the conditional prediction, 0 the unconditional one.
/// - Returns: the same shape.
public func guided(unconditional: Tensor, conditional: Tensor, scale: Float) -> Tensor {
    unconditional + scale * (conditional - unconditional)
}

/// Rescales a guided prediction, which guidance made too bright (Lin et al. 2023, arXiv:2305.08891, section 3.4;
/// diffusers' `rescale_noise_cfg`):
///
///     rescale · guided · std(conditional) / std(guided) + (1 - rescale) · guided
///
/// - Parameters:
///   - guided: `[B, ...]`, the result of `guided(unconditional:conditional:scale:)`.
///   - conditional: prediction for the prompt, the same shape.
///   - rescale: 0 leaves the prediction unchanged; 1 gives each image the standard deviation of `conditional`, taken
///     over all axes but the first, with Bessel's correction. The authors use 0.7.
/// - Returns: the same shape.
public func guidanceRescaled(_ guided: Tensor, conditional: Tensor, rescale: Float) -> Tensor {
    let (wanted, found) = (standardDeviations(conditional), standardDeviations(guided))
    let factors = zip(wanted, found).map { rescale * ($0 / $1) + (1 - rescale) }
    return Tensor(factors, shape: [factors.count] + [Int](repeating: 1, count: guided.rank - 1)) * guided
}

/// The standard deviation of each row of `x` `[B, ...]`, with Bessel's correction.
private func standardDeviations(_ x: Tensor) -> [Float] {
    let values = x.values
    let size = values.count / x.shape[0]
    return (0..<x.shape[0]).map { row in
        let part = values[row * size..<(row + 1) * size]
        let mean = part.reduce(0.0) { $0 + Double($1) } / Double(size)
        let squares = part.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
        return Float((squares / Double(size - 1)).squareRoot())
    }
}

/// A denoiser with fixed conditions.
public struct GuidedPredictor {
    private let denoiser: any Denoiser
    private let inputs: (encoderHiddenStates: Tensor?, added: AddedConditions?)
    private let guidanceScale: Float
    private let guidanceRescale: Float
    private let condition: Tensor?
    private let imageGuidanceScale: Float?
    private var isGuided: Bool { guidanceScale != 1 }

    /// A predictor for one batch of prompts.
    ///
    /// - Parameters:
    ///   - denoiser: the model.
    ///   - embeddings: of the batch; nil for a model without cross-attention, which cannot be guided.
    ///   - guidanceScale: 1 turns guidance off and halves the work.
    ///   - guidanceRescale: as in `guidanceRescaled(_:conditional:rescale:)`; 0 turns it off, as no guidance does.
    ///   - condition: `[B, K, H, W]`, what the model takes in its channels after those of the sample; nil for nothing.
    ///   - imageGuidanceScale: guidance towards `condition` as in InstructPix2Pix (Brooks et al. 2022,
    ///     arXiv:2211.09800, eq. 3), in a third pass with zeros in its place; nil for none.
    /// - Precondition: a scale of 1 where there are no embeddings.
    public init(
        _ denoiser: any Denoiser, _ embeddings: PromptEmbeddings?, guidanceScale: Float = 1,
        guidanceRescale: Float = 0, condition: Tensor? = nil, imageGuidanceScale: Float? = nil
    ) {
        precondition(embeddings != nil || guidanceScale == 1, "guidance: there are no unconditional embeddings")
        self.denoiser = denoiser
        self.guidanceScale = guidanceScale
        self.guidanceRescale = guidanceRescale
        self.condition = condition
        // diffusers guides towards the image only where it guides towards the text, too.
        self.imageGuidanceScale = guidanceScale != 1 && condition != nil ? imageGuidanceScale : nil
        guard let embeddings else {
            inputs = (nil, nil)
            return
        }
        inputs =
            self.imageGuidanceScale == nil
            ? embeddings.inputs(isGuided: guidanceScale != 1)
            : embeddings.inputs([.unconditional, .unconditional, .conditional])
    }

    /// `sample` `[B, C, H, W]` -> the prediction at `timestep`, the same shape.
    public func predict(_ sample: Tensor, timestep: Float) -> Tensor {
        let timesteps = Tensor([timestep], shape: [1])
        guard isGuided else { return forward(sample, condition, timesteps) }
        let batch = sample.shape[0]
        if let imageGuidanceScale, let condition {
            // Without text and image, with the image, with both.
            let all = forward(
                .concatenated([sample, sample, sample], axis: 0),
                .concatenated([.zeros(condition.shape), condition, condition], axis: 0), timesteps)
            let parts = (0..<3).map { all.sliced(axis: 0, $0 * batch..<($0 + 1) * batch) }
            return rescaled(
                parts[0] + guidanceScale * (parts[2] - parts[1]) + imageGuidanceScale * (parts[1] - parts[0]),
                conditional: parts[2])
        }
        let both = forward(
            .concatenated([sample, sample], axis: 0), condition.map { .concatenated([$0, $0], axis: 0) }, timesteps)
        let conditional = both.sliced(axis: 0, batch..<(2 * batch))
        let result = guided(
            unconditional: both.sliced(axis: 0, 0..<batch), conditional: conditional, scale: guidanceScale)
        return rescaled(result, conditional: conditional)
    }

    private func rescaled(_ result: Tensor, conditional: Tensor) -> Tensor {
        guidanceRescale > 0
            ? guidanceRescaled(result, conditional: conditional, rescale: guidanceRescale) : result
    }

    /// Checks before a run that the model can predict at each of `timesteps`.
    ///
    /// - Throws: `TimeFeatureError.timestepNotCached`, `.fractionalTimestep`.
    public func validate(timesteps: [Float]) throws {
        try denoiser.timeFeatures?.validate(timesteps: TimeFeatureTable.wholeTimesteps(timesteps))
    }

    private func forward(_ sample: Tensor, _ condition: Tensor?, _ timesteps: Tensor) -> Tensor {
        denoiser(
            condition.map { .concatenated([sample, $0], axis: 1) } ?? sample, timesteps: timesteps,
            encoderHiddenStates: inputs.encoderHiddenStates, addedConditions: inputs.added)
    }
}
