// SPDX-License-Identifier: Apache-2.0
// Packed files: the options and the report that `quantize` and `pack` share, and forecasts of their size.

import ArgumentParser
import BitsFusion
import Foundation

/// Where and how `quantize` and `pack` write their result.
struct PackedOutputOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "Packed file to write.")
    var output = "packed.h5"

    @Flag(help: "Print the result as JSON.")
    var json = false
}

/// How `quantize` and `pack` encode a model.
struct PackingArguments: ParsableArguments {
    @Option(
        help:
            """
            Encoding of the codes. entropy: fewer bits for frequent codes; radix: several codes in one number; fixed: \
            one bit field per code.
            """
    )
    var encoding = PackingEncoding.entropy

    @Option(help: "Type of the scales: float32 or float16.")
    var scales = ElementType.float32

    @Option(
        parsing: .unconditional,
        help: """
            Inference steps whose time features are cached instead of the time layers; 0 keeps the layers (default: \
            as in the recipe, else 50).
            """)
    var cachedSteps: Int?

    @Option(
        help: """
            Sampler whose timesteps are cached; ddim and pndm have the same ones (default: the model's own, or ddim if \
            there is none or its timesteps are not whole numbers).
            """)
    var sampler: SamplerKind?

    @Option(
        help: """
            Bits of the layers of text encoders and VAE that the recipe does not name, 1 to 8, or `none` to keep their \
            precision (default: 8 for latent models with a VAE, else none). 8 bits have 255 levels here.
            """)
    var componentsBits: ComponentsBits?

    @Flag(help: "Leave the encoder of the VAE out; image inputs need it.")
    var noVaeEncoder = false

    func validate() throws {
        try validateCachedSteps(cachedSteps)
        guard scales != .bfloat16 else {
            throw ValidationError("--scales: expected float32 or float16, found bfloat16")
        }
    }

    /// The packing options for one model.
    ///
    /// - Parameters:
    ///   - pipeline: the model.
    ///   - recipeSteps: the cached steps of its recipe.
    /// - Returns: the options of `writePacked`.
    /// - Throws: `SamplerError`, `ConfigError`.
    func options(for pipeline: DiffusionPipeline, recipeSteps: Int?) throws -> PackingOptions {
        if noVaeEncoder, pipeline.denoiser.config.conditionChannels > 0 {
            throw CommandError(.usage, "--no-vae-encoder: the model edits images and needs the encoder; remove it")
        }
        var options = PackingOptions(encoding: encoding, scaleType: scales, cachedTimesteps: nil)
        options.keepsVAEEncoder = !noVaeEncoder
        let steps = cachedSteps ?? recipeSteps ?? defaultCachedSteps
        if let addition = pipeline.denoiser.config.addedConditionsType {
            Output.warning(
                "time features of SDXL (addition_embed_type=\(addition)) depend on more than the timestep; "
                    + "the time layers are kept")
        } else if steps > 0, !pipeline.denoiser.timeFeatureChannels.isEmpty {
            options.cachedTimesteps = try pipeline.samplerTimesteps([cachedSampler(pipeline, steps)], steps: steps)
        }
        return options
    }

    private func cachedSampler(_ pipeline: DiffusionPipeline, _ steps: Int) throws -> SamplerKind {
        if let sampler { return sampler }
        // Models of scheduler classes without a sampler here are sampled with another one.
        guard let own = try? pipeline.defaultSampler() else { return .ddim }
        do {
            _ = try pipeline.samplerTimesteps([own], steps: steps)
            return own
        } catch is TimeFeatureError {
            Output.warning(
                "the timesteps of the model's sampler, \(own.rawValue), are not whole numbers and cannot be cached; "
                    + "time features are cached for ddim (choose with --sampler, or keep the time layers with "
                    + "--cached-steps 0)")
            return .ddim
        }
    }

    /// The quantization of layers that are dense: those of `recipe`, and of text encoders and VAE by
    /// `--components-bits`.
    func quantization(
        _ recipe: BitRecipe, _ initialization: ScaleInitialization, of inventory: ModelInventory
    ) -> PostTrainingQuantization {
        let stored = noVaeEncoder ? inventory.withoutVAEEncoder : inventory
        let bits = componentsBits.map(\.bits) ?? inventory.defaultComponentsBits
        return PostTrainingQuantization(
            recipe: bits.map { recipe.quantizingComponents($0, of: stored) } ?? recipe,
            initialization: initialization)
    }

    /// Packs a model and prints its size.
    ///
    /// Dense layers are quantized by `quantization` on the way; layers that are quantized already are packed as they
    /// are.
    ///
    /// - Throws: as `writePacked`, and `Interrupted`.
    func write(
        _ pipeline: DiffusionPipeline, _ quantization: PostTrainingQuantization, to path: String,
        manifest: RunManifest, options: PackingOptions, common: CommonOptions, asJSON: Bool
    ) throws {
        let inventory = try pipeline.layerInventory()
        let recipe = quantization.recipe
        let progress = common.progress("packing", total: recipe.layers.count, unit: "layers")
        try pipeline.writePacked(
            to: path, manifest: manifest, options: options, quantization: quantization
        ) { done, _ in
            progress.update(done)
            try InterruptFlag.check()
        }
        progress.endLine()
        let storage = TimeFeatureStorage(cachedSteps: options.cachedTimesteps?.count ?? 0, of: inventory)
        let size = try SizeAccounting(
            recipe: recipe, inventory: inventory, timeFeatures: storage,
            bitsPerScale: 8 * options.scaleType.bytesPerElement)
        let report = PackedReport(
            file: path, averageBits: size.averageBits,
            codedBits: try codedBits(path, size), storedBytes: Numbers.fileSize(path),
            layers: recipe.layers.count, cachedTimesteps: options.cachedTimesteps)
        try report.print(asJSON: asJSON)
    }
}

/// The average bits of a packed file with the stored size of the codes in place of log2(levels).
private func codedBits(_ path: String, _ size: SizeAccounting) throws -> Double {
    let file = try CheckpointReader(path)
    let codes = try file.packedLayers.reduce(0) { $0 + (try file.packedLayer($1).codes.count) }
    return (8 * Double(codes) + size.timeFeatures.bits) / Double(size.weightCount)
}

/// The value of `--components-bits`.
struct ComponentsBits: ExpressibleByArgument {
    /// nil keeps the precision.
    let bits: BitWidth?

    init?(argument: String) {
        guard argument != "none" else {
            bits = nil
            return
        }
        guard let bits = Int(argument).flatMap(BitWidth.init(rawValue:)) else { return nil }
        self.bits = bits
    }
}

/// The size of a packed model.
private struct PackedReport: Encodable {
    let file: String
    let averageBits: Double
    let codedBits: Double
    let storedBytes: Int
    let layers: Int
    let cachedTimesteps: [Int]?

    func print(asJSON: Bool) throws {
        if asJSON { return try Output.json(self) }
        let cached = cachedTimesteps ?? []
        let timesteps = cached.isEmpty ? "" : ", cached timesteps \(cached.map(String.init).joined(separator: " "))"
        Output.line(
            "\(file): \(layers) packed layers, \(Numbers.fixed(averageBits, 4)) average bits, "
                + "\(Numbers.fixed(codedBits, 4)) as stored, "
                + Numbers.bytes(storedBytes) + timesteps)
    }
}

// MARK: Forecasts

extension TimeFeatureStorage {
    /// The storage for `--cached-steps`: 0 keeps the time layers, as do models whose time features cannot be cached
    /// (SDXL).
    init(cachedSteps: Int, of inventory: ModelInventory) {
        self = cachedSteps == 0 || !inventory.cachesTimeFeatures ? .layersKept : .cached(steps: cachedSteps)
    }
}

/// The default of `--cached-steps` without a recipe; the paper's value.
let defaultCachedSteps = 50

/// Checks `--cached-steps`.
///
/// - Throws: `ValidationError`.
func validateCachedSteps(_ steps: Int?) throws {
    if let steps, !(0...1000).contains(steps) {
        throw ValidationError("--cached-steps: expected 0 to 1000, found \(steps)")
    }
}

extension StorageModel {
    /// The bytes that packed files take.
    static func packed(_ encoding: PackingEncoding, bytesPerScale: Int = 4) -> StorageModel {
        StorageModel(bytesPerScale: bytesPerScale) { count, levels in
            packedByteCount(count: count, levels: levels, encoding: encoding)
        }
    }
}

/// The encodings whose sizes do not depend on the weights, so that they can be forecast.
enum ForecastEncoding: String, CaseIterable, ExpressibleByArgument {
    case fixed, radix

    var packing: PackingEncoding { self == .fixed ? .fixed : .radix }
}
