// SPDX-License-Identifier: Apache-2.0
// Images of whole pipelines against diffusers: prompt to pixels, with the same seeds, for every kind of model and every
// sampler.

import Checkpoints
import Files
import Foundation
import Images
import Networks
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct PipelineParityTests {
    /// Pixels of all cases are within 1 of 255: both sides round float32 values that differ in the last digits.
    @Test("images equal those of diffusers within 1 of 255", arguments: ReferencePipelines.kinds)
    func images(kind: String) throws {
        let folder = try TemporaryFolder()
        let pipeline = try DiffusionPipeline(contentsOf: ReferencePipelines.imported(kind, in: folder))
        let cases = ReferenceCase.all.filter { $0.pipeline == kind }
        #expect(cases.count >= 10)
        for reference in cases {
            let found = try reference.pixels(of: pipeline.withScheduler(of: reference))
            let expected = try reference.images()
            try #require(found.count == expected.count, "\(reference.name)")
            let largest = zip(found, expected).map { abs(Int($0) - Int($1)) }.max() ?? 0
            #expect(largest <= 1, "\(reference.name): \(largest)")
        }
    }
}

extension ReferenceCase {
    /// The images of `pipeline` for this case, `[N, H, W, 3]` flat.
    func pixels(of pipeline: DiffusionPipeline) throws -> [UInt8] {
        try attachLoRA(to: pipeline)
        let vae = try #require(pipeline.vae)
        let factor = vae.config.vaeScaleFactor
        let own = pipeline.sampleShape(batch: 1)
        let size = SampleSize(
            height: height.map { $0 / factor } ?? own[2], width: width.map { $0 / factor } ?? own[3])
        let conditions = try PromptEncoder(pipeline).embeddings(
            prompts, negativePrompts: negativePrompt.map { text in prompts.map { _ in text } },
            options: PromptOptions(clipSkip: clipSkip, imageSize: pipeline.imageSize(of: size)))
        let samples = try pipeline.generate(
            conditions, seeds: seeds,
            options: GenerationOptions(
                sampler: sampler(default: pipeline.defaultSampler()), steps: steps, guidanceScale: guidanceScale,
                guidanceRescale: guidanceRescale ?? 0, size: size, randomNumbers: .torch),
            inputs: inputs(pipeline, vae, pixels: pipeline.imageSize(of: size)))
        let decoded = withoutGradients { vae.decode(vae.config.unscaledLatents(samples)) }
        return (0..<decoded.shape[0]).flatMap { index in
            let image = decoded.sliced(axis: 0, index..<index + 1)
            return RGBImage(width: decoded.shape[3], height: decoded.shape[2], modelRange: image.values).interleaved
        }
    }

    /// Sets the LoRA of this case, and removes that of another one.
    private func attachLoRA(to pipeline: DiffusionPipeline) throws {
        var stores = ["unet": pipeline.denoiser.store]
        for encoder in pipeline.textEncoders { stores[encoder.name] = encoder.store }
        let loras = try lora.map { [try LoRA(ReferencePipelines.folder + "/" + $0, weight: Float(loraWeight))] } ?? []
        let branches = try LoRABranches(loras, components: stores)
        for (name, store) in stores { try branches.attach(to: store, of: name) }
    }

    private func inputs(
        _ pipeline: DiffusionPipeline, _ vae: AutoencoderKL, pixels: SampleSize
    ) throws -> SamplingInputs {
        var inputs = SamplingInputs()
        guard let image else { return inputs }
        func read(_ name: String) throws -> RGBImage {
            try ImageFile.read(ReferencePipelines.folder + "/" + name)
                .resized(width: pixels.width, height: pixels.height)
        }
        let mask = try maskImage.map { name in
            Tensor(try read(name).grayscale.map { $0 >= 0.5 ? 1 : 0 }, shape: [1, 1, pixels.height, pixels.width])
        }
        try inputs.setImage(
            Tensor(read(image).modelRange, shape: [1, 3, pixels.height, pixels.width]), mask: mask,
            conditioning: ImageConditioning(pipeline.denoiser.config), vae: vae)
        inputs.strength = strength ?? (mask == nil ? 0.8 : 1)
        inputs.imageGuidanceScale = imageGuidanceScale ?? 1.5
        return inputs
    }

    /// The sampler of the case's scheduler class.
    private func sampler(default own: SamplerKind) throws -> SamplerKind {
        guard let schedulerClass else { return own }
        return try SamplerKind(json: Data(#"{"_class_name": "\#(schedulerClass)"}"#.utf8))
    }
}

extension DiffusionPipeline {
    /// This pipeline with the scheduler keys of a case added.
    fileprivate func withScheduler(of reference: ReferenceCase) throws -> DiffusionPipeline {
        guard let added = reference.schedulerKeys.members, !added.isEmpty, let schedulerJSON else { return self }
        let text = try JSONEncoder().encode(reference.schedulerKeys)
        let keys = try JSONDecoder().decode([String: JSONValue].self, from: text)
        var config = try JSONDecoder().decode([String: JSONValue].self, from: Data(schedulerJSON.utf8))
        config.merge(keys) { $1 }
        return try DiffusionPipeline(
            denoiser: denoiser, textEncoders: textEncoders, vae: vae,
            schedulerJSON: String(decoding: JSONEncoder().encode(config), as: UTF8.self),
            modelIndexJSON: modelIndexJSON)
    }
}
