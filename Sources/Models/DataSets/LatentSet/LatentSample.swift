// SPDX-License-Identifier: Apache-2.0
// One encoded sample, as it is kept until the set is complete: a description as JSON and values in float16.
// C latent channels, h w size of latents, K condition channels, S stored states of a trajectory.

import Files
import Foundation
import Tensors

/// An image, or a sample of the teacher, as latents with its captions.
public struct LatentSample {
    /// What identifies the sample in its source.
    public let key: String
    /// One or more texts.
    public let captions: [String]
    /// [original height, original width, crop top, crop left, target height, target width] in pixels.
    public let timeIDs: [Float]
    /// Values by name, without batch axis; see `LatentSetName`.
    let values: [String: Tensor]

    init(key: String, captions: [String], timeIDs: [Float], values: [String: Tensor]) {
        self.key = key
        self.captions = captions
        self.timeIDs = timeIDs
        self.values = values
    }

    /// The size of the latents: values of samples of one size form one group of the file.
    var latentSize: (height: Int, width: Int) {
        let shape = values[LatentSetName.mean]?.shape ?? [0, 0]
        return (shape[shape.count - 2], shape[shape.count - 1])
    }
}

/// Names of the groups and datasets of a latent set.
enum LatentSetName {
    static let format = "bitsfusion-latents"
    static let version = 1
    // Attributes of the root
    static let formatAttribute = "format"
    static let versionAttribute = "format_version"
    // Documents
    static let header = "/header"
    static let manifest = "/header/manifest"
    static let settings = "/header/settings"
    static let skipped = "/header/skipped"
    // Groups
    static let captions = "/captions"
    static let latents = "/latents"
    // Datasets of a group of latents of one size
    /// `[n, C, h, w]`: the mean of the VAE's distribution, not scaled; for models without VAE, images in [-1, 1].
    static let mean = "mean"
    /// `[n, C, h, w]`: the logarithm of the variance; absent where the latents have no distribution.
    static let logvar = "logvar"
    /// `[n, K, h, w]`: the input channels after those of the latents, as the denoiser takes them.
    static let condition = "condition"
    /// `[n, S, C, h, w]`: the teacher's inputs at the timesteps of `LatentSetSettings.trajectoryTimesteps`.
    static let trajectory = "trajectory"
    static let valueNames = [mean, logvar, condition, trajectory]
    /// `[n, 6]` in float32.
    static let timeIDs = "time_ids"
    /// `[n, 2]`: index of the first caption, number of captions.
    static let captionRanges = "captions"
    static let key = "key"
    static let text = "text"

    /// The dataset of the token ids of text encoder `index`, `[M, T]`.
    static func inputIDs(_ index: Int) -> String { index == 0 ? "input_ids" : "input_ids_\(index + 1)" }

    /// The group of latents of one size, such as `/latents/64x96` for 64 rows of 96 columns.
    static func group(height: Int, width: Int) -> String { "\(latents)/\(height)x\(width)" }
}

/// How a set was made: what must agree when an interrupted run is continued.
public struct LatentSetSettings: Codable, Hashable, Sendable {
    /// SHA-256 of the model.
    public var model: String
    /// SHA-256 of the names and sizes of the source's files, or of the prompts.
    public var source: String
    /// The names of the text encoders whose token ids are stored.
    public var textEncoders: [String]
    /// (latents - shift) * scaling is what the denoiser works on.
    public var scalingFactor: Float
    public var shiftFactor: Float
    /// The inputs of the denoiser's condition channels are stored.
    public var conditionChannels: Int
    /// The timesteps of stored trajectories; empty without them.
    public var trajectoryTimesteps: [Float]
    /// What else decides the samples: sizes, or the settings of sampling.
    public var options: [String: String]

    public init(
        model: String, source: String, textEncoders: [String], scalingFactor: Float, shiftFactor: Float,
        conditionChannels: Int, trajectoryTimesteps: [Float] = [], options: [String: String]
    ) {
        self.model = model
        self.source = source
        self.textEncoders = textEncoders
        self.scalingFactor = scalingFactor
        self.shiftFactor = shiftFactor
        self.conditionChannels = conditionChannels
        self.trajectoryTimesteps = trajectoryTimesteps
        self.options = options
    }

    /// The settings as JSON.
    ///
    /// - Throws: `EncodingError` for numbers that JSON cannot represent.
    public func json() throws -> String { String(decoding: try JSONEncoder.compact.encode(self), as: UTF8.self) }
}

/// A sample of the source that is not in the set.
public struct SkippedSample: Codable, Hashable, Sendable {
    public let key: String
    public let reason: String

    public init(key: String, reason: String) {
        self.key = key
        self.reason = reason
    }
}
