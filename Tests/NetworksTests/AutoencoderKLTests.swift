// SPDX-License-Identifier: Apache-2.0
// The autoencoder against diffusers: moments, images, tiled passes, gradients, keys.
// Fixtures: python Tests/Fixtures/make_autoencoder_fixtures.py (torch 2.15.0, diffusers 0.42.1).

import Files
import Foundation
import Layers
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Networks

/// One `autoencoder-*.json` with outputs.
private struct AutoencoderFixture: Decodable {
    struct Output: Decodable {
        let shape: [Int]
        let values: [Double]
    }

    let config: AutoencoderKLConfig
    let image: [Int]
    let latents: [Int]
    let outputs: [String: Output]
    let gradients: [String: [Double]]

    static let names = ["sd", "four-blocks", "plain", "shift"]

    static func read(_ name: String) throws -> AutoencoderFixture {
        try fixture("autoencoder-\(name)", in: .module)
    }

    var imageValues: Tensor { fixtureUnit("image", image) }
    var latentValues: Tensor { fixtureUnit("latents", latents) }

    func model(
        _ parts: AutoencoderKL.Parts = .both, _ provider: any ParameterProvider = FixtureParameterProvider()
    ) throws -> AutoencoderKL {
        try AutoencoderKL(config: config, parameters: ParameterPath(ParameterStore(provider: provider)), parts: parts)
    }

    func expect(_ output: Tensor, _ name: String) throws {
        let reference = try #require(outputs[name])
        #expect(output.shape == reference.shape, "\(name)")
        expectClose(output.values, reference.values, Tolerance.output, name)
    }
}

/// Provides the values of the fixtures under other keys and in other shapes.
private struct RenamingProvider: ParameterProvider {
    let stored: (String, [Int]) -> (key: String, shape: [Int])
    private let values = FixtureParameterProvider()

    func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        let stored = stored(key, shape)
        guard AutoencoderKL.renamedKey(stored.key) == key,
            AutoencoderKL.shape(ofKey: stored.key, stored: stored.shape) == shape
        else { throw ParameterError.missing(key: stored.key) }
        return values.weight(key, shape: shape, initializer: initializer)
    }
}

/// Provides the keys that begin with one of `prefixes`.
private struct PartialProvider: ParameterProvider {
    let prefixes: [String]

    func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        guard prefixes.contains(where: key.hasPrefix) else { throw ParameterError.missing(key: key) }
        return FixtureParameterProvider().weight(key, shape: shape, initializer: initializer)
    }
}

@Suite(.tags(.golden)) struct AutoencoderKLTests {
    @Test("moments, images, scaled latents and all gradients agree with diffusers", arguments: AutoencoderFixture.names)
    func parity(name: String) throws {
        let fixture = try AutoencoderFixture.read(name)
        let model = try fixture.model()
        let (mean, logvar) = model.encode(fixture.imageValues)
        let noise = fixtureUnit("noise", mean.shape)
        let image = model.decode(fixture.latentValues)
        try fixture.expect(mean, "mean")
        try fixture.expect(logvar, "logvar")
        try fixture.expect(AutoencoderKL.sample(mean: mean, logvar: logvar, noise: noise), "sample")
        try fixture.expect(image, "image")
        try fixture.expect(fixture.config.scaledLatents(fixture.latentValues), "scaled")
        try fixture.expect(fixture.config.unscaledLatents(fixture.latentValues), "unscaled")

        func weighted(_ output: Tensor, _ name: String) -> Tensor {
            (output * fixtureUnit("loss." + name, output.shape)).sum()
        }
        (weighted(mean, "mean") + weighted(image, "image")).backward()
        expectGradients(of: model.store.parameters, fixture.gradients)
    }

    @Test(
        "passes that overwrite feature maps have the bits of recorded ones, and leave the input",
        arguments: ["sd", "plain"])
    func overwriting(name: String) throws {
        let fixture = try AutoencoderFixture.read(name)
        let model = try fixture.model()
        let (image, latents) = (fixture.imageValues, fixture.latentValues)
        let (before, latentsBefore) = (image.values, latents.values)
        let recorded = (model.encode(image).mean, model.decode(latents))
        let overwritten = withoutGradients { (model.encode(image).mean, model.decode(latents)) }
        #expect(recorded.1.requiresGradient && !overwritten.1.requiresGradient)
        #expect(recorded.0.values == overwritten.0.values && recorded.1.values == overwritten.1.values)
        #expect(image.values == before && latents.values == latentsBefore)
    }

    @Test("upsampling in bands of rows gives the same image", arguments: [1, 2, 3, 4, 6, 7])
    func bands(rows: Int) throws {
        let store = ParameterStore(provider: FixtureParameterProvider())
        let convolution = try Conv2d(ParameterPath(store) / "conv", in: 6, out: 5, kernel: 3, padding: Padding(1))
        let x = fixtureUnit("x", [2, 6, 7, 5])
        let recorded = convolution.upsampling(x, bandRows: rows)
        #expect(recorded.requiresGradient)
        let whole = withoutGradients { convolution(x.upsampledNearest2x()) }
        #expect(recorded.values == whole.values)
        let banded = withoutGradients { convolution.upsampling(x, bandRows: rows) }
        expectClose(banded, whole, Tolerance.sameArithmetic)
        #expect(withoutGradients { convolution.upsampling(x) }.values == whole.values, "a small image is one band")
    }

    @Test("tiled passes agree with diffusers, and differ from passes without tiles")
    func tiled() throws {
        let fixture = try AutoencoderFixture.read("tiled")
        let model = try fixture.model()
        model.store.setTrainable(false)
        let whole = model.decode(fixture.latentValues)
        model.useTiling = true
        #expect(model.tiling == AutoencoderTiling(sampleMinSize: 32, fixture.config))
        let (mean, logvar) = model.encode(fixture.imageValues)
        try fixture.expect(mean, "mean")
        try fixture.expect(logvar, "logvar")
        let image = model.decode(fixture.latentValues)
        try fixture.expect(image, "image")
        #expect(whole.shape == image.shape && whole.values != image.values)
    }

    @Test("inputs not larger than a tile are not split")
    func oneTile() throws {
        let fixture = try AutoencoderFixture.read("tiled")
        let model = try fixture.model()
        model.store.setTrainable(false)
        let latents = fixtureUnit("small", [1, 4, 8, 5])
        let whole = model.decode(latents)
        model.useTiling = true
        #expect(model.decode(latents).values == whole.values)
        model.tiling = AutoencoderTiling(sampleMinSize: 16, fixture.config)
        #expect(model.tiling.latentMinSize == 4)
        let tiled = model.decode(latents)
        #expect(tiled.shape == whole.shape && tiled.values != whole.values)
    }

    @Test("keys and shapes are those of Stable Diffusion's autoencoder, letter for letter")
    func keys() throws {
        struct Published: Decodable {
            let config: AutoencoderKLConfig
            let shapes: [String: [Int]]
        }
        let published: Published = try fixture("autoencoder-keys", in: .module)
        func shapes(_ model: AutoencoderKL) -> [String: [Int]] {
            Dictionary(uniqueKeysWithValues: model.store.entries.map { ($0.key, $0.source.shape) })
        }
        #expect(try shapes(published.config.skeleton()) == published.shapes)
        let encoderKeys = published.shapes.filter { $0.key.hasPrefix("encoder.") || $0.key.hasPrefix("quant_conv.") }
        #expect(try shapes(published.config.skeleton(parts: .encoder)) == encoderKeys)
        let decoder = try published.config.skeleton(parts: .decoder)
        #expect(shapes(decoder) == published.shapes.filter { encoderKeys[$0.key] == nil })
        #expect(decoder.store.elementCount == 49_490_199)
    }

    @Test("a part is built from its own parameters, and computes the same")
    func parts() throws {
        let fixture = try AutoencoderFixture.read("sd")
        let decoder = try fixture.model(.decoder, PartialProvider(prefixes: ["decoder.", "post_quant_conv."]))
        try fixture.expect(decoder.decode(fixture.latentValues), "image")
        let encoder = try fixture.model(.encoder, PartialProvider(prefixes: ["encoder.", "quant_conv."]))
        try fixture.expect(encoder.encode(fixture.imageValues).mean, "mean")
        #expect(throws: ParameterError.missing(key: "encoder.conv_in.weight")) {
            try fixture.model(.both, PartialProvider(prefixes: ["decoder.", "post_quant_conv."]))
        }
    }

    @Test("attention of old checkpoints is read, as matrices or as 1x1 convolutions")
    func oldNames() throws {
        let fixture = try AutoencoderFixture.read("sd")
        let old = ["to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"]
        var renamed: Set<String> = []
        let provider = RenamingProvider { key, shape in
            guard let (new, name) = old.first(where: { key.contains("attentions.0.\($0.key).") }) else {
                return (key, shape)
            }
            let stored = key.replacingOccurrences(of: new, with: name)
            renamed.insert(stored)
            return (stored, shape.count == 2 ? shape + [1, 1] : shape)
        }
        try fixture.expect(fixture.model(.both, provider).decode(fixture.latentValues), "image")
        #expect(renamed.count == 16 && renamed.contains("decoder.mid_block.attentions.0.proj_attn.bias"))
    }

    @Test(
        "keys that are not of an old attention keep their names and shapes",
        arguments: [
            "decoder.mid_block.attentions.0.group_norm.weight", "decoder.mid_block.attentions.0.to_out.0.weight",
            "decoder.mid_block.resnets.0.conv1.weight", "key.weight", "mid_block.attentions.0.query", "",
        ])
    func presentNames(key: String) {
        #expect(AutoencoderKL.renamedKey(key) == key)
        #expect(AutoencoderKL.shape(ofKey: key, stored: [8, 8, 3, 3]) == [8, 8, 3, 3])
        #expect(AutoencoderKL.shape(ofKey: key, stored: [8]) == [8])
        let isProjection = key.hasSuffix("to_out.0.weight")
        #expect(AutoencoderKL.shape(ofKey: key, stored: [8, 4, 1, 1]) == (isProjection ? [8, 4] : [8, 4, 1, 1]))
    }

    @Test("the logarithm of the variance is limited to -30...20, the mean is not")
    func limits() throws {
        struct Extreme: ParameterProvider {
            func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
                guard key == "quant_conv.bias" else {
                    return FixtureParameterProvider().weight(key, shape: shape, initializer: initializer)
                }
                return Parameter(key, Tensor([100, -100, 0, 0, 100, -100, 0, 0], shape: shape))
            }
        }
        let fixture = try AutoencoderFixture.read("sd")
        let (mean, logvar) = try fixture.model(.encoder, Extreme()).encode(fixture.imageValues)
        func channel(_ x: Tensor, _ index: Int) -> [Float] { x.sliced(axis: 1, index..<index + 1).values }
        #expect(channel(logvar, 0).allSatisfy { $0 == 20 } && channel(logvar, 1).allSatisfy { $0 == -30 })
        #expect(channel(logvar, 2).allSatisfy { abs($0) < 20 })
        #expect(channel(mean, 0).allSatisfy { $0 > 20 } && channel(mean, 1).allSatisfy { $0 < -30 })
    }
}

/// Quantized layers, as other components of a pipeline have them.
@Suite struct PackedAutoencoderTests {
    /// The signal-to-noise ratio of images with values in -1...1, in dB.
    private static func peakSignalToNoiseRatio(_ a: Tensor, _ b: Tensor) -> Double {
        let squares = zip(a.values, b.values).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        return 10 * log10(4 * Double(a.count) / squares)
    }

    private static func pack(_ layer: any WeightedLayer, _ bits: BitWidth) throws {
        let dense = Parameter(layer.path, layer.weight.tensor(), isTrainable: false)
        let student = FakeQuantizedWeight(
            latent: dense, grid: QuantizationGrid(fittingInByte: bits), initialization: .paper)
        let codes = try packCodes(student.codes, levels: student.grid.levels, encoding: .radix)
        layer.weight = try PackedWeight(
            shape: student.shape, grid: student.grid, encoding: .radix, codes: codes, scales: student.scales)
    }

    @Test(
        "packed layers decode to nearly the same image",
        arguments: [(8, ActivationType.float32, 45.0), (7, .float32, 40.0), (7, .int8, 32.0)])
    func packed(bits: Int, activations: ActivationType, least: Double) throws {
        let fixture = try AutoencoderFixture.read("sd")
        let model = try fixture.model(.decoder)
        model.store.setTrainable(false)
        let image = model.decode(fixture.latentValues)
        for layer in model.store.weightedLayers {
            #expect(OptionalLayerPolicy().role(ofLayer: layer.path) == .optional)
            try Self.pack(layer, BitWidth(bits))
            (layer.weight as? PackedWeight)?.activations = activations
            #expect((layer.weight.integer != nil) == (activations == .int8))
        }
        let ratio = Self.peakSignalToNoiseRatio(model.decode(fixture.latentValues), image)
        #expect(ratio > least && ratio < 90, "\(ratio) dB")
    }
}

@Suite struct AutoencoderKLConfigTests {
    private static func config(_ json: String) throws -> AutoencoderKLConfig {
        try AutoencoderKLConfig(json: Data(json.utf8))
    }

    @Test("absent keys have diffusers' defaults")
    func defaults() throws {
        let config = try Self.config("{}")
        #expect(config.inChannels == 3 && config.outChannels == 3 && config.latentChannels == 4)
        #expect(config.blockOutChannels == [64] && config.layersPerBlock == 1 && config.normNumGroups == 32)
        #expect(config.actFn == .silu && config.midBlockAddAttention && config.sampleSize == 32)
        #expect(config.scalingFactor == 0.18215 && config.shiftFactor == nil)
        #expect(config.useQuantConv && config.usePostQuantConv && config.vaeScaleFactor == 1)
    }

    /// The config of Stable Diffusion XL's autoencoder.
    private static let published = """
        {"_class_name": "AutoencoderKL", "_diffusers_version": "0.20.0.dev0", "_name_or_path": "../sdxl-vae/",
         "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
         "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
         "force_upcast": true, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
         "out_channels": 3, "sample_size": 1024, "scaling_factor": 0.13025, "latents_mean": null, "latents_std": null,
         "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}
        """

    @Test("the config of Stable Diffusion XL's autoencoder is read, and written without a change")
    func readsPublished() throws {
        let config = try Self.config(Self.published)
        #expect(config.scalingFactor == 0.13025 && config.sampleSize == 1024 && config.vaeScaleFactor == 8)
        let tiling = AutoencoderTiling(config)
        #expect(tiling.sampleMinSize == 1024 && tiling.latentMinSize == 128 && tiling.overlapFactor == 0.25)
        let written = try JSONEncoder().encode(config)
        #expect(try AutoencoderKLConfig(json: written) == config)
        let keys = try #require(JSONSerialization.jsonObject(with: written) as? [String: Any]).keys
        #expect(keys.count == 17 && keys.contains("force_upcast"))
    }

    @Test("a sample_size of two sides gives tiles of the first one, as in diffusers")
    func sampleSizes() throws {
        #expect(try Self.config(#"{"sample_size": [48, 64]}"#).sampleSize == 48)
    }

    @Test(
        "values that are not supported are errors that name key and value",
        arguments: [
            (#"{"_class_name": "AsymmetricAutoencoderKL"}"#, "_class_name", "\"AsymmetricAutoencoderKL\""),
            (#"{"act_fn": "quick_gelu"}"#, "act_fn", "\"quick_gelu\""),
            (#"{"in_channels": 0}"#, "in_channels", "0"),
            (#"{"block_out_channels": [64.5]}"#, "block_out_channels", "[64.5]"),
            (#"{"down_block_types": ["AttnDownEncoderBlock2D"]}"#, "down_block_types", "\"AttnDownEncoderBlock2D\""),
            (#"{"up_block_types": [1]}"#, "up_block_types", "1"),
            (#"{"layers_per_block": 1000}"#, "layers_per_block", "1000"),
            (#"{"sample_size": [1, 2, 3]}"#, "sample_size", "[1, 2, 3]"),
            (#"{"scaling_factor": 0}"#, "scaling_factor", "0"),
            (#"{"scaling_factor": null}"#, "scaling_factor", "null"),
            (#"{"scaling_factor": 1e300}"#, "scaling_factor", "1e+300"),
            (#"{"shift_factor": NaN}"#, "shift_factor", "nan"),
            (#"{"latents_mean": [0.5, 0, 0, 0]}"#, "latents_mean", "[0.5, 0, 0, 0]"),
            (#"{"latents_std": [1, 1, 1, 1]}"#, "latents_std", "[1, 1, 1, 1]"),
            (#"{"use_quant_conv": 1}"#, "use_quant_conv", "1"),
            (#"{"norm_type": "spatial"}"#, "norm_type", "\"spatial\""),
        ])
    func unsupported(json: String, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) { try Self.config(json) }
        guard case .unsupported(key, value, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("one type per block is needed")
    func blockCounts() {
        let json = #"{"block_out_channels": [32, 64], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#
        let error = ConfigError.wrongCount(
            key: "down_block_types", value: #"["DownEncoderBlock2D"]"#, expected: 2)
        #expect(throws: error) { try Self.config(json) }
    }

    @Test("groups that do not divide the channels are an error")
    func indivisible() {
        let error = ConfigError.indivisible(
            key: "block_out_channels", value: 48, divisorKey: "norm_num_groups", divisor: 32)
        #expect(throws: error) { try Self.config(#"{"block_out_channels": [48]}"#) }
    }

    @Test("text that is not a JSON object is an error")
    func notAnObject() {
        #expect(throws: ConfigError.notAnObject(document: "VAE config.json")) { try Self.config("[1]") }
    }

    @Test("shapes of images and latents are checked against the config")
    func shapes() throws {
        let config = try Self.config(Self.published)
        try config.validate(image: [2, 3, 16, 8])
        try config.validate(latents: [1, 4, 1, 5])
        for image in [[3, 16, 8], [1, 4, 16, 8], [0, 3, 16, 8], [1, 3, 12, 8], [1, 3, 16, 0]] {
            let error = #expect(throws: DenoiserInputError.self) { try config.validate(image: image) }
            guard case .shape("image", _, image) = error else {
                Issue.record("\(image): \(String(describing: error))")
                continue
            }
        }
        for latents in [[4, 8, 8], [1, 3, 8, 8], [1, 4, 0, 8]] {
            let error = #expect(throws: DenoiserInputError.self) { try config.validate(latents: latents) }
            guard case .shape("latents", _, latents) = error else {
                Issue.record("\(latents): \(String(describing: error))")
                continue
            }
        }
    }
}
