// SPDX-License-Identifier: Apache-2.0
// Checks inputs that come from files before they reach a denoiser, where a wrong shape is a trap.
// B batch, IC sample channels, H W sample size, T context tokens, D context size, P channels of pooled text, I time
// ids.

import Files

/// An input that the model does not accept.
public enum DenoiserInputError: Error, Equatable, Sendable {
    /// `name` has another shape than the one spelled out in `expected`.
    case shape(name: String, expected: String, found: [Int])
    /// The model needs `name`.
    case missing(name: String, neededBy: String)
    /// The model does not take `name`.
    case unexpected(name: String)
    /// `count` values of `name` are NaN or infinite, the first at `index` (row-major).
    case notFinite(name: String, index: Int, count: Int)
    /// The sample is too small to be halved `halvings` times.
    case tooSmall(found: [Int], halvings: Int)
}

extension DenoiserInputError {
    public var description: String {
        switch self {
        case .shape(let name, let expected, let found):
            "model input \(name): expected shape \(expected), found \(found); give a tensor of that shape"
        case .missing(let name, let neededBy):
            "model input \(name): missing, but needed by \(neededBy); add \(Self.contents(name) ?? "it")"
        case .unexpected(let name):
            "model input \(name): this model has no use for it; remove it"
        case .notFinite(let name, let index, let count):
            "model input \(name): not finite: expected finite values, found \(count) NaN or infinite ones, the first "
                + "at index \(index); give finite inputs"
        case .tooSmall(let found, let halvings):
            "model input sample: \(found) is too small for a model that halves its size \(halvings) times; "
                + "give a larger sample"
        }
    }

    /// What an input of SDXL consists of, in the words of diffusers.
    private static func contents(_ name: String) -> String? {
        switch name {
        case "time_ids":
            "one row [height, width, crop top, crop left, target height, target width] in pixels for each sample, for "
                + "example [1024, 1024, 0, 0, 1024, 1024]"
        case "text_embeds": "the pooled output of the second text encoder, one row for each sample"
        case "negative_text_embeds":
            "the pooled output of the second text encoder for the negative prompt, or zeros for none"
        default: nil
        }
    }
}

extension UNet2DConditionConfig {
    public func validate(
        sample: [Int], timestep: [Int], encoderHiddenStates: [Int]?, textEmbeds: [Int]?, timeIDs: [Int]?
    ) throws(DenoiserInputError) {
        guard sample.count == 4, sample[1] == inChannels, sample.allSatisfy({ $0 > 0 }) else {
            throw .shape(name: "sample", expected: "[B, \(inChannels), H, W]", found: sample)
        }
        let batch = sample[0]
        try validateSize(sample)
        guard timestep == [batch] || timestep == [1] else {
            throw .shape(name: "timestep", expected: "[\(batch)]", found: timestep)
        }
        try validateContext(encoderHiddenStates, batch: batch)
        try validateAdded(textEmbeds: textEmbeds, timeIDs: timeIDs, batch: batch)
    }

    /// With padding on two sides only, a size of 1 cannot be halved.
    private func validateSize(_ sample: [Int]) throws(DenoiserInputError) {
        let halvings = blockOutChannels.count - 1
        guard downsamplePadding == 0 else { return }
        if min(sample[2], sample[3]) >> halvings < 1 {
            throw .tooSmall(found: sample, halvings: halvings)
        }
    }

    private func validateContext(_ shape: [Int]?, batch: Int) throws(DenoiserInputError) {
        guard let shape else {
            if usesCrossAttention {
                throw .missing(name: "encoder_hidden_states", neededBy: "the model's cross-attention")
            }
            return
        }
        guard shape.count == 3, shape[0] == batch, shape[1] > 0, shape[2] == contextSize || !usesCrossAttention else {
            throw .shape(
                name: "encoder_hidden_states", expected: "[\(batch), T, \(contextSize)]", found: shape)
        }
    }

    private func validateAdded(textEmbeds: [Int]?, timeIDs: [Int]?, batch: Int) throws(DenoiserInputError) {
        guard let width = projectionClassEmbeddingsInputDim, let each = additionTimeEmbedDim else {
            if textEmbeds != nil { throw .unexpected(name: "text_embeds") }
            if timeIDs != nil { throw .unexpected(name: "time_ids") }
            return
        }
        let reason = "addition_embed_type \"text_time\""
        guard let timeIDs else { throw .missing(name: "time_ids", neededBy: reason) }
        guard timeIDs.count == 2, timeIDs[0] == batch, width > timeIDs[1] * each else {
            throw .shape(
                name: "time_ids", expected: "[\(batch), I] with I below \(width) / \(each)", found: timeIDs)
        }
        guard let textEmbeds else { throw .missing(name: "text_embeds", neededBy: reason) }
        let textWidth = width - timeIDs[1] * each
        guard textEmbeds == [batch, textWidth] else {
            throw .shape(name: "text_embeds", expected: "[\(batch), \(textWidth)]", found: textEmbeds)
        }
    }
}

extension DenoiserInputError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
