// SPDX-License-Identifier: Apache-2.0
// The header of a checkpoint file, and the groups that store its tensors. NAME is the name of a component of the
// pipeline, as in diffusers' model_index.json: unet, text_encoder, vae.
//
//     /                        attributes format, format_version, architecture, component, [tokenizer]
//     /header/manifest         JSON documents, each a scalar string dataset
//     /header/NAME             config of each component
//     /header/[scheduler]      scheduler_config.json of the pipeline
//     /header/[model_index]    model_index.json of the pipeline
//     /header/[preprocessor]   preprocessor_config.json of a CLIP model
//     /header/[training]       state of an unfinished run
//     /tokenizers/NAME/FILE    texts of the pipeline's tokenizer folders, such as /tokenizers/tokenizer/merges.txt
//     /NAME                    parameters of each component; groups follow the diffusers path
//     /quantization/NAME       students: scale and bits of each quantized layer
//     /packed/NAME             packed models: codes and scales of each quantized layer
//     /time_features           packed models: cached time features
//     /training                students and unfinished models: tensors of the training state

import Files

/// The kinds of checkpoint: three of a diffusion model, one of an image-text encoder.
public enum CheckpointFormat: String, CaseIterable, Sendable {
    /// Every parameter as floats.
    case model = "bitsfusion-model"
    /// Latent full-precision weights, and the scales and bits of their quantization.
    case student = "bitsfusion-student"
    /// Low-bit codes and scales of quantized layers, and the other parameters as floats.
    case packed = "bitsfusion-packed"
    /// Every parameter of an image-text encoder as floats.
    case clip = "bitsfusion-clip"

    /// The kinds that store a diffusion model.
    public static let models: [CheckpointFormat] = [.model, .student, .packed]

    /// The format version that this program reads and writes.
    public static let version = 2
}

/// The header of a checkpoint file.
public struct CheckpointHeader: Equatable, Sendable {
    /// The kind of checkpoint.
    public var format: CheckpointFormat
    /// The class of the main component in diffusers or transformers, such as `UNet2DConditionModel`.
    public var architecture: String
    /// The name of the main component, the model that is quantized, such as `unet`.
    public var component: String
    /// The `config.json` of each component as JSON text, by the name of the component.
    public var configs: [String: String]
    /// The run that produced the file: a `RunManifest` as JSON.
    public var manifest: String
    /// The diffusers `scheduler_config.json`, byte for byte; nil if the model has none.
    public var scheduler: String?
    /// The diffusers `model_index.json`; nil where the model came without one.
    public var modelIndex: String?
    /// The transformers `preprocessor_config.json`; nil except for CLIP models.
    public var preprocessor: String?
    /// The name of the text encoder's tokenizer; set exactly where the file has a text encoder.
    public var tokenizer: String?
    /// The files of tokenizers that are made from files: text by file name, by the tokenizer's component (`tokenizer`,
    /// `tokenizer_2`).
    public var tokenizers: [String: [String: String]]

    /// The name of the component of the text encoder.
    public static let textEncoder = "text_encoder"
    /// The name of the autoencoder's component.
    public static let vae = "vae"
    /// The name of the only component of an image-text encoder.
    public static let clip = "clip"

    /// - Precondition: `tokenizer` and `textConfig` are both nil or both not nil; `component` is a valid component
    ///   name.
    public init(
        format: CheckpointFormat, architecture: String, component: String = "unet", config: String, manifest: String,
        scheduler: String? = nil, textConfig: String? = nil, tokenizer: String? = nil
    ) {
        var configs = [component: config]
        configs[Self.textEncoder] = textConfig
        self.init(
            format: format, architecture: architecture, component: component, configs: configs, manifest: manifest,
            scheduler: scheduler, tokenizer: tokenizer)
    }

    /// The header of a file with any components; see the properties.
    ///
    /// - Precondition: `tokenizer` is set exactly where there is a text encoder; names can be those of components.
    public init(
        format: CheckpointFormat, architecture: String, component: String, configs: [String: String], manifest: String,
        scheduler: String?, modelIndex: String? = nil, preprocessor: String? = nil, tokenizer: String?,
        tokenizers: [String: [String: String]] = [:]
    ) {
        precondition(
            configs.keys.contains { $0.hasPrefix(Self.textEncoder) } == (tokenizer != nil),
            "checkpoint header: a text encoder has a tokenizer")
        precondition(configs.keys.allSatisfy(CheckpointSection.isComponent), "checkpoint header: \(configs.keys)")
        self.format = format
        self.architecture = architecture
        self.component = component
        self.configs = configs
        self.manifest = manifest
        self.scheduler = scheduler
        self.modelIndex = modelIndex
        self.preprocessor = preprocessor
        self.tokenizer = tokenizer
        self.tokenizers = tokenizers
    }

    /// The config of the main component.
    public var config: String {
        guard let config = configs[component] else {
            preconditionFailure("checkpoint header: no config of \(component)")
        }
        return config
    }

    /// The config of the text encoder; nil if there is none.
    public var textConfig: String? { configs[Self.textEncoder] }

    /// The texts by their path in the file, without the training state.
    var documents: [(path: String, text: String)] {
        var documents = configs.map { (CheckpointName.document($0.key), $0.value) }
        documents.append((CheckpointName.document(CheckpointName.manifest), manifest))
        if let scheduler { documents.append((CheckpointName.document(CheckpointName.scheduler), scheduler)) }
        if let modelIndex { documents.append((CheckpointName.document(CheckpointName.modelIndex), modelIndex)) }
        if let preprocessor { documents.append((CheckpointName.document(CheckpointName.preprocessor), preprocessor)) }
        for (name, files) in tokenizers {
            documents += files.map { (CheckpointName.tokenizers + "/" + name + "/" + $0.key, $0.value) }
        }
        return documents.sorted { byBytes($0.0, $1.0) }
    }
}

/// A group of tensors in a checkpoint file.
public struct CheckpointSection: Hashable, Sendable {
    /// The absolute path of the group.
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

    /// Parameters have the keys of diffusers; the tensors of the training state have paths.
    var naming: HDF5KeyNaming { self == .training ? .paths : .dots }

    /// The path of `key` in the file.
    func object(_ key: String) -> String { naming.path(of: key, below: group) }

    /// Whether `name` is a valid name of a component.
    static func isComponent(_ name: String) -> Bool {
        let reserved = [
            CheckpointName.header, CheckpointName.tokenizers, CheckpointName.quantization, CheckpointName.packed,
            timeFeatures.group, training.group,
            "/" + CheckpointName.manifest, "/" + CheckpointName.scheduler, "/" + CheckpointName.modelIndex,
            "/" + CheckpointName.preprocessor,
        ]
        return !name.isEmpty && !name.contains("/") && !name.contains(".") && !reserved.contains("/" + name)
    }
}

/// Names of groups, attributes and datasets.
enum CheckpointName {
    // Groups
    static let header = "/header"
    static let tokenizers = "/tokenizers"
    static let quantization = "/quantization"
    static let packed = "/packed"
    // Documents
    static let manifest = "manifest"
    static let scheduler = "scheduler"
    static let modelIndex = "model_index"
    static let preprocessor = "preprocessor"
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
    static let deadZone = "dead_zone"
    static let encoding = "encoding"
    static let shape = "shape"
    static let checksum = "crc32"
    static let codes = "codes"
    static let scale = "scale"
    static let timesteps = "timesteps"
}
