// SPDX-License-Identifier: Apache-2.0
// A whole image from a prompt, with a packed Stable Diffusion 1.5 of random weights: everything that
// `bitsfusion sample` does from opening the file to the bytes of the PNG, against diffusers' pipeline, which has the
// dequantized weights and is loaded before the measurement.

import BitsFusion
import Foundation

enum SampleCases {
    static var all: [BenchmarkCase] {
        [
            sample(
                "sample sd15 512x512, 20 steps, packed", size: 512, steps: 20,
                RatioTargets(float32: 0.45, bfloat16: 0.45))
        ]
    }

    /// Written by scripts/make_random_pipeline.py; see the Makefile.
    private static let folder = ".build/random-sd15"
    private static let recipeFile = "Configs/recipes/sd15-bitsfusion-1.99.json"
    private static let prompt = "a photo of an astronaut riding a horse"
    private static let seed: UInt64 = 1024

    private static func sample(_ name: String, size: Int, steps: Int, _ targets: RatioTargets) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: .pipeline, operation: "pipeline_sample",
            options: ["steps": steps, "width": size, "height": size, "seed": Int(seed)],
            text: ["folder": folder, "prompt": prompt, "compared": "prompt_embeds image"],
            tolerances: .quantizedImage, targets: targets, hasLongPasses: true
        ) {
            guard FileManager.default.fileExists(atPath: folder + "/model_index.json") else {
                throw BenchmarkError.missingFile(path: folder)
            }
            let packed = try packedModel(steps: steps)
            let parameters = try DiffusionPipeline(CheckpointReader(packed)).components.flatMap { component in
                component.store.entries.map { ("\(component.name).\($0.key)", $0.source.tensor().detached()) }
            }
            let slot = ImageSlot()
            return Workload(
                inputs: [:],
                shared: SharedTensors(
                    name: "packed-pipeline", tensors: Dictionary(uniqueKeysWithValues: parameters)),
                pass: { slot.image = try image(from: packed, steps: steps, size: size) },
                results: {
                    let image = try image(from: packed, steps: steps, size: size)
                    let encoder = try PromptEncoder(CheckpointReader(packed))
                    return [
                        "prompt_embeds": try encoder.embeddings([prompt]).conditional,
                        "image": Tensor(image.interleaved.map(Float.init), shape: [size, size, 3]),
                    ]
                })
        }
    }

    /// Imports the folder and packs it by the published recipe; the VAE's encoder is kept for diffusers.
    private static func packedModel(steps: Int) throws -> String {
        let (dense, packed) = (folder + ".h5", folder + "-packed.h5")
        let manifest = RunManifest(toolVersion: toolVersion, commandLine: ["bitsfusion-bench"], seed: nil, inputs: [])
        try PipelineSource(folder).writeModel(to: dense, manifest: manifest)
        defer { try? FileManager.default.removeItem(atPath: dense) }
        let pipeline = try DiffusionPipeline(CheckpointReader(dense), precision: .keep16Bit)
        let recipe = try BitRecipe.load(contentsOf: URL(fileURLWithPath: recipeFile))
        let inventory = try pipeline.layerInventory()
        let timesteps = try pipeline.samplerTimesteps([pipeline.defaultSampler(steps: steps)], steps: steps)
        try pipeline.writePacked(
            to: packed, manifest: manifest, options: PackingOptions(cachedTimesteps: timesteps),
            quantization: PostTrainingQuantization(
                recipe: inventory.defaultComponentsBits.map { recipe.quantizingComponents($0, of: inventory) }
                    ?? recipe,
                initialization: .paper))
        return packed
    }

    /// Text encoder, UNet and VAE are opened one after the other, as the program does.
    private static func image(from path: String, steps: Int, size: Int) throws -> RGBImage {
        let reader = try CheckpointReader(path)
        let embeddings = try PromptEncoder(reader).embeddings([prompt])
        let latents = try latents(reader, embeddings, steps: steps, size: size / 8)
        guard let vae = try AutoencoderKL(in: reader, decoderOnly: true, precision: .keep16Bit) else {
            throw BenchmarkError.missingFile(path: path)
        }
        vae.store.setActivations(.float32)
        let pixels = withoutGradients { vae.decode(vae.config.unscaledLatents(latents)) }
        let image = RGBImage(width: size, height: size, modelRange: pixels.values)
        _ = try PNGFile.encode(image)
        return image
    }

    private static func latents(
        _ reader: CheckpointReader, _ embeddings: PromptEmbeddings, steps: Int, size: Int
    ) throws -> Tensor {
        let pipeline = try DiffusionPipeline(reader, precision: .keep16Bit, denoiserOnly: true)
        pipeline.freeze()
        let options = GenerationOptions(
            sampler: try pipeline.defaultSampler(steps: steps), steps: steps, guidanceScale: 7.5, batchSize: 1,
            size: SampleSize(height: size, width: size), randomNumbers: .torch)
        return try pipeline.generate(embeddings, seeds: [seed], options: options)
    }
}

/// Holds the image of the last pass.
private final class ImageSlot {
    var image: RGBImage?
}
