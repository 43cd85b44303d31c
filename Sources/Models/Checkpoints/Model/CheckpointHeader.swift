// SPDX-License-Identifier: Apache-2.0
// The header of a checkpoint file, and the groups that store its tensors. NAME is the name of a component of the
// pipeline, as in diffusers' model_index.json: unet, text_encoder, vae.
//
//     /                        attributes format, format_version, architecture, component, [tokenizer]
//     /header/manifest         JSON documents, each a scalar string dataset
//     /header/NAME             config of each component
//     /header/[scheduler]
//     /header/[training]       state of an unfinished run
//     /NAME                    parameters of each component; groups follow the diffusers path
//     /quantization/NAME       students: scale and bits of each quantized layer
//     /packed/NAME             packed models: codes and scales of each quantized layer
//     /time_features           packed models: cached time features
//     /training                students and unfinished models: tensors that a resumed run needs

/// The kinds of checkpoint: three of a diffusion model, one of an image-text encoder.
public enum CheckpointFormat: String, CaseIterable, Sendable {
    /// Every parameter as floats.
    case model = "bitsfusion-model"
    /// Latent full-precision weights, and the scales and bit widths of their quantization.
    case student = "bitsfusion-student"
    /// Codes.
    case packed = "bitsfusion-packed"
    /// Every parameter of an image-text encoder as floats.
    case clip = "bitsfusion-clip"

    /// The kinds that store a diffusion model.
    public static let models: [CheckpointFormat] = [.model, .student, .packed]

    /// The version of the layout that this program writes and reads.
    public static let version = 2
}

/// What a checkpoint file says about itself.
public struct CheckpointHeader: Equatable, Sendable {
    /// The kind of checkpoint.
    public var format: CheckpointFormat
    /// The class of the main component in diffusers or transformers, such as `UNet2DConditionModel`.
    public var architecture: String
    /// The name of the main component, such as `unet`: the model that is quantized.
    public var component: String
    /// The `config.json` of each component as JSON text, by the component's name. A component is stored exactly where
    /// its config is.
    public var configs: [String: String]
    /// The run that produced the file: a `RunManifest` as JSON.
    public var manifest: String
    /// The diffusers `scheduler_config.json`, byte for byte; nil where the model came without one.
    public var scheduler: String?
    /// The name of the text encoder's tokenizer; set exactly where the file has a text encoder.
    public var tokenizer: String?

    /// The name of the text encoder's component.
    public static let textEncoder = "text_encoder"

    /// - Precondition: `tokenizer` is set exactly where `textConfig` is; `component` can be a component's name.
    public init(
        format: CheckpointFormat, architecture: String, component: String = "unet", config: String, manifest: String,
        scheduler: String? = nil, textConfig: String? = nil, tokenizer: String? = nil
    ) {
        precondition((textConfig == nil) == (tokenizer == nil), "checkpoint header: a text encoder has a tokenizer")
        precondition(CheckpointSection.isComponent(component), "checkpoint header: component \(component)")
        self.format = format
        self.architecture = architecture
        self.component = component
        configs = [component: config]
        configs[Self.textEncoder] = textConfig
        self.manifest = manifest
        self.scheduler = scheduler
        self.tokenizer = tokenizer
    }

    init(
        format: CheckpointFormat, architecture: String, component: String, configs: [String: String], manifest: String,
        scheduler: String?, tokenizer: String?
    ) {
        self.format = format
        self.architecture = architecture
        self.component = component
        self.configs = configs
        self.manifest = manifest
        self.scheduler = scheduler
        self.tokenizer = tokenizer
    }

    /// The config of the main component.
    public var config: String {
        guard let config = configs[component] else {
            preconditionFailure("checkpoint header: no config of \(component)")
        }
        return config
    }

    /// The config of the text encoder; nil where the file has none.
    public var textConfig: String? { configs[Self.textEncoder] }

    /// The JSON documents by their path in the file, without the training state.
    var documents: [(path: String, text: String)] {
        var documents = configs.map { (CheckpointName.document($0.key), $0.value) }
        documents.append((CheckpointName.document(CheckpointName.manifest), manifest))
        if let scheduler { documents.append((CheckpointName.document(CheckpointName.scheduler), scheduler)) }
        return documents.sorted { byBytes($0.0, $1.0) }
    }
}

/// A group of tensors in a checkpoint file.
public struct CheckpointSection: Hashable, Sendable {
    /// The group's absolute path.
    let group: String

    /// Parameters of the component `name`.
    public static func component(_ name: String) -> CheckpointSection { .init(group: "/" + name) }
    /// Scales and bits of the quantized layers of the component `name` of a student.
    public static func quantization(_ name: String) -> CheckpointSection {
        .init(group: CheckpointName.quantization + "/" + name)
    }
    /// Codes and scales of the quantized layers of the component `name` of a packed model.
    public static func packed(_ name: String) -> CheckpointSection { .init(group: CheckpointName.packed + "/" + name) }
    /// Parameters of the text encoder.
    public static let textEncoder = component(CheckpointHeader.textEncoder)
    /// Cached time features.
    public static let timeFeatures = CheckpointSection(group: "/time_features")
    /// The state of an unfinished run.
    public static let training = CheckpointSection(group: "/training")

    /// Parameters are named as in diffusers; training state by the paths that the trainer chose.
    var naming: HDF5KeyNaming { self == .training ? .paths : .dots }

    /// The path of `key` in the file.
    func object(_ key: String) -> String { naming.path(of: key, below: group) }

    /// Whether a component may have this name.
    static func isComponent(_ name: String) -> Bool {
        let reserved = [
            CheckpointName.header, CheckpointName.quantization, CheckpointName.packed, timeFeatures.group,
            training.group,
            "/" + CheckpointName.manifest, "/" + CheckpointName.scheduler,
        ]
        return !name.isEmpty && !name.contains("/") && !name.contains(".") && !reserved.contains("/" + name)
    }
}

/// Names of groups, attributes and datasets, in one place for reader and writer.
enum CheckpointName {
    // Groups
    static let header = "/header"
    static let quantization = "/quantization"
    static let packed = "/packed"
    // Documents
    static let manifest = "manifest"
    static let scheduler = "scheduler"
    static let training = "training"
    static func document(_ name: String) -> String { header + "/" + name }
    // Attributes of the root
    static let format = "format"
    static let version = "format_version"
    static let architecture = "architecture"
    static let component = "component"
    static let tokenizer = "tokenizer"
    // Attributes and datasets of layers
    static let bits = "bits"
    static let levels = "levels"
    static let encoding = "encoding"
    static let shape = "shape"
    static let checksum = "crc32"
    static let codes = "codes"
    static let scale = "scale"
    static let timesteps = "timesteps"
}
