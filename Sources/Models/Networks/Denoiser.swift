// SPDX-License-Identifier: Apache-2.0
// What the rest of the library needs from a network that predicts noise: analysis, training, sampling and files know
// these protocols, never an architecture. `UNet2DConditionModel` is one conformer; `DenoiserRegistry` finds it by the
// `_class_name` of a model's config.json.
// B batch, IC/OC sample channels, H W sample size, T context tokens, D context size.

import Foundation
import Layers
import Recipes
import Tensors

/// Height and width of a sample, in pixels or latent positions.
public struct SampleSize: Sendable, Equatable {
    public let height: Int
    public let width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }
}

/// The architecture of a denoiser: a validated `config.json`.
public protocol DenoiserConfig: Sendable {
    /// The class in diffusers, `_class_name`: the key of `DenoiserRegistry`.
    static var architecture: String { get }
    /// The component in diffusers' pipeline folders, such as `unet` or `transformer`.
    static var component: String { get }

    /// The bytes that the config was read from, for writing back unchanged.
    var json: Data { get }
    /// IC, the channels of samples.
    var inChannels: Int { get }
    /// OC, the channels of predictions.
    var outChannels: Int { get }
    /// The size that the model was trained for; nil where the config leaves it open.
    var sampleSize: SampleSize? { get }
    /// Whether the model attends to a context, so that `encoderHiddenStates` must be given.
    var usesCrossAttention: Bool { get }
    /// D, the channels of the context; without effect where `usesCrossAttention` is false.
    var contextSize: Int { get }
    /// The channels of the feature maps or tokens of each block, the first block first.
    var blockOutChannels: [Int] { get }
    /// The kind of conditions needed in addition to timestep and context, such as SDXL's `text_time`; nil for none.
    /// Time features that depend on them cannot be cached.
    var addedConditionsType: String? { get }

    /// Checks the shapes of the inputs of a prediction, under their names in diffusers.
    ///
    /// - Parameters:
    ///   - sample: expected `[B, IC, H, W]`.
    ///   - timestep: expected `[B]` or `[1]`.
    ///   - encoderHiddenStates: expected `[B, T, D]`; nil for a model without cross-attention.
    ///   - textEmbeds: pooled text features, for models with added conditions.
    ///   - timeIDs: sizes and crops, for models with added conditions.
    /// - Throws: `DenoiserInputError`, for the first input that does not fit.
    func validate(
        sample: [Int], timestep: [Int], encoderHiddenStates: [Int]?, textEmbeds: [Int]?, timeIDs: [Int]?
    ) throws(DenoiserInputError)

    /// Builds the model and requests every parameter below `parameters`, the root of the denoiser's state_dict.
    ///
    /// - Parameters:
    ///   - parameters: where the values come from.
    ///   - timeFeatures: cached features; the model is then built without time layers.
    /// - Returns: the model, with all parameters registered in `parameters.store`.
    /// - Throws: the provider's error, `ParameterError.shapeMismatch`, or `TimeFeatureError` where the cached features
    ///   are not those of this architecture.
    func model(_ parameters: ParameterPath, timeFeatures: TimeFeatureTable?) throws -> any Denoiser
}

/// A network that predicts the noise (or velocity) in a sample, given the timestep and the text.
public protocol Denoiser: AnyObject {
    associatedtype Config: DenoiserConfig

    /// The architecture.
    var config: Config { get }
    /// Every parameter, and every layer with a replaceable weight.
    var store: ParameterStore { get }
    /// How the quantization method treats each layer.
    var layerPolicy: any LayerPolicy { get }
    /// What a forward pass keeps for the backward pass; changes memory and time, not results.
    var checkpointing: GradientCheckpointing { get set }
    /// Cached time features, used in place of the time layers; nil computes them.
    var timeFeatures: TimeFeatureTable? { get set }
    /// The name and the number of values per timestep of each cached time feature, in the order of computation; empty
    /// where none can be cached.
    var timeFeatureChannels: [(path: String, channels: Int)] { get }

    /// Computes the time features of `timesteps` for caching; repeated timesteps are kept once.
    ///
    /// - Throws: `TimeFeatureError.dependsOnConditions` where the timestep alone does not decide the features,
    ///   `.noTimeEmbedding` for a model without time layers.
    func timeFeatureTable(timesteps: [Int]) throws(TimeFeatureError) -> TimeFeatureTable

    /// One prediction; see `callAsFunction`.
    func predict(
        _ sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions?,
        features: BlockFeatures?
    ) -> Tensor
}

/// A denoiser whose forward pass can be stopped between stages and continued from there, with bit-equal results. The
/// sensitivity analysis computes the stages before a changed layer once.
public protocol StagedDenoiser: Denoiser {
    /// The number of stages of a forward pass.
    var stageCount: Int { get }

    /// The stage that the layer at `path` is first used in; nil for layers that the conditioning is computed with.
    func stage(ofLayer path: String) -> Int?

    /// The kind of block that ends with stage `index`, for feature distillation; nil where none ends.
    func block(endingWith index: Int) -> BlockFeatures.Kind?

    /// The state before the first stage, for a sample `[B, IC, H, W]`.
    func begin(_ sample: Tensor) -> DenoiserState

    /// What all stages of a pass depend on in addition to the state; parameters as for a whole pass, `batch` samples.
    func conditioning(
        timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions?, batch: Int
    ) -> DenoiserConditioning

    /// Runs the stages `range`. After the last stage `state.hidden` is the prediction.
    ///
    /// - Parameters:
    ///   - state: the state before the first stage of `range`.
    ///   - range: indices of stages in `0 ..< stageCount`.
    ///   - conditioning: of the whole pass.
    func run(_ state: inout DenoiserState, stages range: Range<Int>, _ conditioning: DenoiserConditioning)
}

/// SDXL's conditions in addition to the text tokens (`added_cond_kwargs`).
public struct AddedConditions {
    /// Pooled text features, `[B, P]`.
    public let textEmbeds: Tensor
    /// Original size, crop and target size in pixels, `[B, 6]`; five values for SDXL's refiner.
    public let timeIDs: Tensor

    /// Conditions of a batch; both tensors have one row per sample.
    public init(textEmbeds: Tensor, timeIDs: Tensor) {
        self.textEmbeds = textEmbeds
        self.timeIDs = timeIDs
    }
}

extension Denoiser {
    /// One prediction.
    ///
    /// - Parameters:
    ///   - sample: `[B, IC, H, W]`.
    ///   - timesteps: `[B]`, or `[1]` for the whole batch.
    ///   - encoderHiddenStates: `[B, T, D]`; nil only for a model without cross-attention.
    ///   - addedConditions: needed if and only if the config has an `addedConditionsType`.
    ///   - features: collects the output of every block when given.
    /// - Returns: `[B, OC, H, W]`.
    /// - Precondition: shapes as above.
    public func callAsFunction(
        _ sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor? = nil,
        addedConditions: AddedConditions? = nil, features: BlockFeatures? = nil
    ) -> Tensor {
        predict(
            sample, timesteps: timesteps, encoderHiddenStates: encoderHiddenStates, addedConditions: addedConditions,
            features: features)
    }

    /// The layers that every recipe gives bits, in construction order.
    public var quantizedLayers: [any WeightedLayer] {
        let policy = layerPolicy
        return store.weightedLayers.filter { policy.role(ofLayer: $0.path).isQuantized }
    }

    /// The layers of the architecture, time layers included, without values.
    ///
    /// - Throws: `RecipeError` for an architecture that the accounting cannot describe.
    public func inventory() throws -> ModelInventory {
        // A model with cached time features may have been built without its time layers.
        guard timeFeatures == nil else { return try config.inventory() }
        let policy = layerPolicy
        let layers = store.weightedLayers.map { LayerShape($0, path: LayerID($0.path), policy: policy) }
        return try ModelInventory(
            layers: layers, otherParameters: store.elementCount - layers.reduce(0) { $0 + $1.weights },
            cachesTimeFeatures: !timeFeatureChannels.isEmpty && config.addedConditionsType == nil)
    }
}

extension StagedDenoiser {
    public func predict(
        _ sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor?, addedConditions: AddedConditions?,
        features: BlockFeatures?
    ) -> Tensor {
        var state = begin(sample)
        let conditioning = conditioning(
            timesteps: timesteps, encoderHiddenStates: encoderHiddenStates, addedConditions: addedConditions,
            batch: sample.shape[0])
        features?.reset()
        for index in 0..<stageCount {
            run(&state, stages: index..<index + 1, conditioning)
            if let features, let kind = block(endingWith: index) { features.append(state.hidden, kind: kind) }
        }
        return state.hidden
    }
}

extension DenoiserConfig {
    /// The class in diffusers, `_class_name`.
    public var architecture: String { Self.architecture }

    /// The component in diffusers' pipeline folders, such as `unet`.
    public var component: String { Self.component }

    /// Whether samples are latents of an autoencoder. Models of pixels have 1 or 3 channels, in [-1, 1]; latents of
    /// every known autoencoder have 4 or more, in no fixed range.
    public var isLatent: Bool { inChannels != 1 && inChannels != 3 }

    /// The channels of the input behind those of the sample, such as the mask and the masked image of an inpainting
    /// model (5) or the image of instruct-pix2pix (4).
    public var conditionChannels: Int { max(inChannels - outChannels, 0) }

    /// `[B, IC, H, W]` for `batch` samples of `size` x `size`; nil: the size that the model was trained for, or 64 as
    /// for Stable Diffusion where the config leaves it open.
    public func sampleShape(batch: Int, size: Int? = nil) -> [Int] {
        [batch, inChannels, size ?? sampleSize?.height ?? 64, size ?? sampleSize?.width ?? 64]
    }

    /// Checks the shapes of inputs without added conditions.
    ///
    /// - Throws: `DenoiserInputError`, for the first input that does not fit.
    public func validate(
        sample: [Int], timestep: [Int], encoderHiddenStates: [Int]?
    ) throws(DenoiserInputError) {
        try validate(
            sample: sample, timestep: timestep, encoderHiddenStates: encoderHiddenStates, textEmbeds: nil,
            timeIDs: nil)
    }

    /// Whether the two configs are equal documents, whatever the order of their keys and their spacing.
    public func isEqual(to other: any DenoiserConfig) -> Bool {
        json == other.json || ConfigDocument(json) == ConfigDocument(other.json)
    }

    /// The model with shapes and no values of large weights: for inspecting the architecture.
    ///
    /// - Throws: `ParameterError` for an architecture that cannot be built.
    public func skeleton() throws -> any Denoiser {
        try model(ParameterPath(ParameterStore(provider: ShapeOnlyProvider())), timeFeatures: nil)
    }

    /// The layers of the architecture, time layers included.
    ///
    /// - Throws: `RecipeError` for an architecture that the accounting cannot describe.
    public func inventory() throws -> ModelInventory { try skeleton().inventory() }
}
