// SPDX-License-Identifier: Apache-2.0
// What a checkpoint file says about itself in the attributes of its root, and the groups that its tensors lie in.
//
//     /                attributes format, format_version, config, manifest, [scheduler], [text_config], [tokenizer]
//     /unet            parameters; groups follow the diffusers path
//     /text_encoder    parameters of the text encoder, in models that have one
//     /quantization    students: scale and bits of each quantized layer
//     /training        students and unfinished models: what a resumed run needs; attribute state
//     /packed          packed models: codes and scales of each quantized layer
//     /time_features   packed models: cached time features
//     /clip            image-text encoders, in place of /unet: all parameters

/// The kinds of checkpoint: three of a UNet, one of the encoder that scores its images.
public enum CheckpointFormat: String, CaseIterable, Sendable {
    /// Every parameter as floats.
    case model = "bitsfusion-model"
    /// Latent full-precision weights with the scales and widths that they are seen through.
    case student = "bitsfusion-student"
    /// Codes.
    case packed = "bitsfusion-packed"
    /// Every parameter of an image-text encoder as floats.
    case clip = "bitsfusion-clip"

    /// The kinds that hold a UNet.
    public static let models: [CheckpointFormat] = [.model, .student, .packed]

    /// Where the parameters lie.
    var section: CheckpointSection { self == .clip ? .clip : .unet }

    /// The version of the layout that this program writes and reads.
    public static let version = 1
}

/// What a checkpoint file says about itself.
public struct CheckpointHeader: Equatable, Sendable {
    public var format: CheckpointFormat
    /// The diffusers `config.json` of the UNet, byte for byte; of an image-text encoder its own JSON.
    public var config: String
    /// What produced the file: a `RunManifest` as JSON.
    public var manifest: String
    /// The diffusers `scheduler_config.json`, if the model came with one.
    public var scheduler: String?
    /// The config of the text encoder as JSON; set exactly where `/text_encoder` holds its parameters.
    public var textConfig: String?
    /// The name of the text encoder's tokenizer, such as "shapes-words"; nil where there is none.
    public var tokenizer: String?

    public init(
        format: CheckpointFormat, config: String, manifest: String, scheduler: String? = nil,
        textConfig: String? = nil, tokenizer: String? = nil
    ) {
        self.format = format
        self.config = config
        self.manifest = manifest
        self.scheduler = scheduler
        self.textConfig = textConfig
        self.tokenizer = tokenizer
    }
}

/// A group below the root.
public enum CheckpointSection: String, CaseIterable, Sendable {
    case unet
    case textEncoder = "text_encoder"
    case quantization
    case training
    case packed
    case timeFeatures = "time_features"
    case clip

    /// The group's absolute path.
    var group: String { "/" + rawValue }

    /// Parameters are named as in diffusers; training state by whatever paths the trainer chose.
    var naming: HDF5KeyNaming { self == .training ? .paths : .dots }
}

/// Names of attributes and datasets, in one place for reader and writer.
enum CheckpointName {
    static let format = "format"
    static let version = "format_version"
    static let config = "config"
    static let manifest = "manifest"
    static let scheduler = "scheduler"
    static let textConfig = "text_config"
    static let tokenizer = "tokenizer"
    static let bits = "bits"
    static let levels = "levels"
    static let encoding = "encoding"
    static let shape = "shape"
    static let checksum = "crc32"
    static let codes = "codes"
    static let scale = "scale"
    static let timesteps = "timesteps"
    static let state = "state"
}
