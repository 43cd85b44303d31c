// SPDX-License-Identifier: Apache-2.0
// A denoiser that is not a UNet, defined outside of the library: patches as tokens, two blocks of attention to patches
// and text, and patches of noise (in the manner of Peebles and Xie 2023, arXiv:2212.09748). B batch, C channels, H W
// sample size, P patch size, T = (H / P)·(W / P) patches, S context tokens, D hidden size.

import Files
import Foundation
import Layers
import Networks
import Recipes
import Tensors

/// `{"_class_name": "TinyTransformer", "in_channels", "sample_size", "hidden_size", "context_size"}`.
struct TinyTransformerConfig: DenoiserConfig, Decodable {
    static let architecture = "TinyTransformer"
    static let component = "transformer"
    static let patchSize = 2

    private(set) var json = Data()
    let inChannels: Int
    let side: Int
    let hiddenSize: Int
    let contextSize: Int

    enum CodingKeys: String, CodingKey {
        case inChannels = "in_channels"
        case side = "sample_size"
        case hiddenSize = "hidden_size"
        case contextSize = "context_size"
    }

    static func reading(_ json: Data) throws -> TinyTransformerConfig {
        var config = try JSONDecoder().decode(Self.self, from: json)
        config.json = json
        return config
    }

    var outChannels: Int { inChannels }
    var sampleSize: SampleSize? { SampleSize(height: side, width: side) }
    var usesCrossAttention: Bool { true }
    var blockOutChannels: [Int] { [hiddenSize, hiddenSize] }
    var addedConditionsType: String? { nil }

    func validate(
        sample: [Int], timestep: [Int], encoderHiddenStates: [Int]?, textEmbeds: [Int]?, timeIDs: [Int]?
    ) throws(DenoiserInputError) {
        guard sample.count == 4, sample[1] == inChannels else {
            throw .shape(name: "sample", expected: "[B, \(inChannels), H, W]", found: sample)
        }
        guard let encoderHiddenStates else {
            throw .missing(name: "encoder_hidden_states", neededBy: "the model's attention")
        }
        guard encoderHiddenStates.last == contextSize else {
            throw .shape(
                name: "encoder_hidden_states", expected: "[B, S, \(contextSize)]", found: encoderHiddenStates)
        }
    }

    func model(_ parameters: ParameterPath, timeFeatures: TimeFeatureTable?) throws -> any Denoiser {
        try TinyTransformer(self, parameters)
    }
}

/// Keeps the patch embedding and the output at 8 bits; the timestep's layers stay in full precision.
struct TinyTransformerPolicy: LayerPolicy {
    func role(ofLayer path: String) -> LayerRole {
        if path.hasPrefix("time_embed.") { return .timeEmbedding }
        return ["pos_embed.proj", "proj_out"].contains(path) ? .firstOrLast : .searched
    }

    func group(ofLayer path: String) -> LayerGroup {
        if path.contains(".attn.") { return .selfAttention }
        if path.contains(".mlp.") { return .feedForward }
        return role(ofLayer: path) == .firstOrLast ? .firstOrLast : .other
    }
}

final class TinyTransformer: StagedDenoiser {
    let config: TinyTransformerConfig
    let store: ParameterStore
    let layerPolicy: any LayerPolicy = TinyTransformerPolicy()
    var checkpointing = GradientCheckpointing.none
    var timeFeatures: TimeFeatureTable?
    let timeFeatureChannels: [(path: String, channels: Int)] = []

    private let patches: Conv2d
    private let timeProjection: SinusoidalFeatures
    private let timeEmbedding: TimestepEmbedding
    private let contextEmbedder: Linear
    private let blocks: [TinyTransformerBlock]
    private let normOut: LayerNorm
    private let projOut: Linear
    private var patchSize: Int { TinyTransformerConfig.patchSize }

    init(_ config: TinyTransformerConfig, _ parameters: ParameterPath) throws {
        self.config = config
        store = parameters.store
        let size = config.hiddenSize, patch = TinyTransformerConfig.patchSize
        patches = try Conv2d(
            parameters / "pos_embed.proj", in: config.inChannels, out: size, kernel: patch, stride: patch)
        timeProjection = SinusoidalFeatures(channels: size, cosineFirst: true, frequencyShift: 0)
        timeEmbedding = try TimestepEmbedding(parameters / "time_embed", in: size, out: size, activation: .silu)
        contextEmbedder = try Linear(parameters / "context_embedder", in: config.contextSize, out: size)
        blocks = try (0..<2).map { try TinyTransformerBlock(parameters / "blocks" / $0, size: size) }
        normOut = try LayerNorm(parameters / "norm_out", channels: size)
        projOut = try Linear(parameters / "proj_out", in: size, out: patch * patch * config.outChannels)
    }

    func timeFeatureTable(timesteps: [Int]) throws(TimeFeatureError) -> TimeFeatureTable { throw .noTimeEmbedding }

    var stageCount: Int { blocks.count + 2 }

    func stage(ofLayer path: String) -> Int? {
        if path == "pos_embed.proj" { return 0 }
        if path == "proj_out" { return stageCount - 1 }
        return blocks.firstIndex { path.hasPrefix($0.path + ".") }.map { $0 + 1 }
    }

    func block(endingWith index: Int) -> BlockFeatures.Kind? {
        (1...blocks.count).contains(index) ? .transformer : nil
    }

    func begin(_ sample: Tensor) -> DenoiserState { DenoiserState(hidden: sample, skips: [sample]) }

    func conditioning(
        timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions?, batch: Int
    ) -> DenoiserConditioning {
        DenoiserConditioning(
            timesteps: timesteps, timeEmbedding: timeEmbedding(timeProjection(timesteps)), timeFeatures: nil,
            context: encoderHiddenStates.map { contextEmbedder($0) })
    }

    func run(_ state: inout DenoiserState, stages range: Range<Int>, _ conditioning: DenoiserConditioning) {
        for index in range {
            switch index {
            case 0: state.hidden = tokens(of: state.hidden)
            case stageCount - 1: state.hidden = image(of: state.hidden, like: state.skips[0])
            default:
                let block = blocks[index - 1]
                state.hidden = checkpointing.run([state.hidden], conditioning) { inputs, conditioning in
                    block(inputs[0], conditioning)
                }
            }
        }
    }

    /// `[B, C, H, W]` -> `[B, T, D]`.
    private func tokens(of sample: Tensor) -> Tensor {
        let map = patches(sample)
        return map.permuted([0, 2, 3, 1]).reshaped([map.shape[0], map.shape[2] * map.shape[3], map.shape[1]])
    }

    /// `[B, T, D]` -> `[B, C, H, W]`.
    private func image(of tokens: Tensor, like sample: Tensor) -> Tensor {
        let (rows, columns) = (sample.shape[2] / patchSize, sample.shape[3] / patchSize)
        return projOut(normOut(tokens))
            .reshaped([sample.shape[0], rows, columns, patchSize, patchSize, config.outChannels])
            .permuted([0, 5, 1, 3, 2, 4])
            .reshaped([sample.shape[0], config.outChannels, sample.shape[2], sample.shape[3]])
    }
}

/// Attention of the patches to patches and text, then a feed-forward network; the time embedding is added first.
final class TinyTransformerBlock {
    let path: String
    private let norm1, norm2: LayerNorm
    private let toQ, toK, toV, toOut, fc1, fc2: Linear

    init(_ parameters: ParameterPath, size: Int) throws {
        path = parameters.path
        norm1 = try LayerNorm(parameters / "norm1", channels: size)
        norm2 = try LayerNorm(parameters / "norm2", channels: size)
        toQ = try Linear(parameters / "attn.to_q", in: size, out: size)
        toK = try Linear(parameters / "attn.to_k", in: size, out: size)
        toV = try Linear(parameters / "attn.to_v", in: size, out: size)
        toOut = try Linear(parameters / "attn.to_out", in: size, out: size)
        fc1 = try Linear(parameters / "mlp.fc1", in: size, out: 2 * size)
        fc2 = try Linear(parameters / "mlp.fc2", in: 2 * size, out: size)
    }

    /// `x` `[B, T, D]` -> the same shape.
    func callAsFunction(_ x: Tensor, _ conditioning: DenoiserConditioning) -> Tensor {
        guard let time = conditioning.timeEmbedding, let context = conditioning.context else {
            preconditionFailure("\(path): the conditioning is incomplete")
        }
        let tokens = norm1(x + time.reshaped([time.shape[0], 1, time.shape[1]]))
        let keys = Tensor.concatenated([tokens, context], axis: 1)
        let attended = toOut(scaledDotProductAttention(toQ(tokens), toK(keys), toV(keys), heads: 2), residual: x)
        return fc2(Activation.gelu(fc1(norm2(attended))), residual: attended)
    }
}
