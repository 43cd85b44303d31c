// SPDX-License-Identifier: Apache-2.0
// Sources of latent sets: images through the VAE, and samples of the model itself.

import Checkpoints
import Communication
import Files
import Foundation
import Images
import Layers
import Networks
import Pipelines
import Schedulers
import Tensors
import TestKit
import Testing

@testable import DataSets

/// A folder of images of several sizes with captions; `broken.png` is not an image.
private func imageFolder(count: Int = 6) throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    for index in 0..<count {
        var image = RGBImage(width: 20 + 3 * index, height: 24, filledWith: [0.1, 0.5, 0.9])
        for x in 0..<image.width { image[x, x % 24] = [Float(index) / Float(count), 1, 0] }
        try PNGFile.write(image, to: folder.file("\(index).png"))
        try folder.write("\(index).txt", "a red circle")
    }
    try folder.write("broken.png", "not an image")
    try folder.write("broken.txt", "a blue square")
    return folder
}

private func vae() throws -> AutoencoderKL {
    let json = """
        {"block_out_channels": [8, 16], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
         "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"], "latent_channels": 4, "norm_num_groups": 4,
         "sample_size": 16}
        """
    return try AutoencoderKL(
        config: AutoencoderKLConfig(json: Data(json.utf8)),
        parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 2))))
}

private let settings = LatentSetSettings(
    model: "m", source: "s", textEncoders: ["text_encoder"], scalingFactor: 1, shiftFactor: 0, conditionChannels: 0,
    options: [:])

extension LatentSetLog {
    /// The samples of the log, nil for skipped ones.
    fileprivate func entries() throws -> [LatentSample?] {
        var found: [LatentSample?] = []
        try read { entry, _ in
            if case .sample(let sample) = entry { found.append(sample) } else { found.append(nil) }
        }
        return found
    }
}

/// Ends a run.
private struct Stop: Error {}

@Suite struct ImageLatentsTests {
    private func encode(
        _ folder: TemporaryFolder, _ output: TemporaryFolder, config: UNet2DConditionConfig, vae: AutoencoderKL?,
        workers: Int = 2, skipLimit: Int = 10, stopAfter: Int = .max
    ) throws -> (log: LatentSetLog, isComplete: Bool) {
        let log = try LatentSetLog(of: output.file("set.h5"), settings: settings)
        let images = try ImageLatents(
            openImageText(folder.path), buckets: AspectBuckets(resolution: 16, step: 4), vae: vae, for: config, seed: 7)
        do {
            try images.encode(
                into: log, workers: workers, skipLimit: skipLimit, checkCaption: { _ in },
                interruption: { if log.count >= stopAfter { throw Stop() } })
        } catch is Stop {
            return (log, false)
        }
        return (log, true)
    }

    @Test("latents are those of the VAE for the resized and cropped image, in the order of the folder")
    func latents() throws {
        let (folder, output) = (try imageFolder(), try TemporaryFolder())
        let vae = try vae()
        let (log, isComplete) = try encode(folder, output, config: TinyModel.config(channels: 4), vae: vae)
        #expect(isComplete && log.count == 7)
        #expect(log.skipped.map(\.key) == ["broken.png"])
        for (index, entry) in try log.entries().dropLast().enumerated() {
            let sample = try #require(entry)
            #expect(sample.key == "\(index).png" && sample.captions == ["a red circle"])
            let image = try ImageFile.read(folder.file("\(index).png"))
            let size = AspectBuckets(resolution: 16, step: 4).size(forWidth: image.width, height: image.height)
            let bucket = ResizedImage(image, size: size)
            #expect(sample.timeIDs == bucket.timeIDs)
            let (mean, logvar) = vae.encode(
                Tensor(bucket.image.modelRange, shape: [1, 3, size.height, size.width]))
            #expect(sample.values["mean"]?.values == mean.roundedToFloat16.values)
            #expect(sample.values["logvar"]?.values == logvar.roundedToFloat16.values)
        }
    }

    @Test("models in pixel space get the images themselves")
    func pixels() throws {
        let (folder, output) = (try imageFolder(), try TemporaryFolder())
        let (log, _) = try encode(folder, output, config: TinyModel.config(), vae: nil)
        let sample = try #require(try log.entries()[0])
        #expect(sample.values["logvar"] == nil && sample.values["mean"]?.shape[0] == 3)
    }

    @Test("inpainting models get a mask and the latents of the unmasked part")
    func inpainting() throws {
        let (folder, output) = (try imageFolder(), try TemporaryFolder())
        let (log, _) = try encode(folder, output, config: TinyModel.config(channels: 4, condition: 5), vae: vae())
        var covered: Set<Bool> = []
        for sample in try log.entries().compactMap({ $0 }) {
            let mean = try #require(sample.values["mean"]), condition = try #require(sample.values["condition"])
            #expect(condition.shape == [5] + mean.shape.dropFirst())
            let mask = condition.values.prefix(mean.shape[1] * mean.shape[2])
            #expect(mask.allSatisfy { $0 == 0 || $0 == 1 })
            covered.insert(mask.allSatisfy { $0 == 1 })
        }
        #expect(covered.contains(false))
        #expect(throws: DataSetError.self) {
            _ = try encode(folder, TemporaryFolder(), config: TinyModel.config(channels: 4, condition: 4), vae: vae())
        }
    }

    @Test("an interrupted run continues to the same log, with any number of workers", arguments: [1, 3, 8])
    func resuming(workers: Int) throws {
        let folder = try imageFolder()
        let (first, second) = (try TemporaryFolder(), try TemporaryFolder())
        let config = try TinyModel.config(channels: 4)
        _ = try encode(folder, first, config: config, vae: vae())
        for stop in [2, 5, .max] {
            let (log, isComplete) = try encode(
                folder, second, config: config, vae: vae(), workers: workers, stopAfter: stop)
            #expect(isComplete == (stop == .max) && log.count == min(stop, 7))
        }
        #expect(try first.bytes("set.h5.part/samples.log") == second.bytes("set.h5.part/samples.log"))
    }

    @Test("1 to 3 processes write the same log, also one that another number continues", arguments: [1, 2, 3])
    func processes(size: Int) throws {
        let (folder, whole, output) = (try imageFolder(count: 20), try TemporaryFolder(), try TemporaryFolder())
        let config = try TinyModel.config(channels: 4)
        _ = try encode(folder, whole, config: config, vae: vae())
        _ = try encode(folder, output, config: config, vae: vae(), stopAfter: 3)
        let (path, images) = (output.file("set.h5"), folder.path)
        _ = try ThreadCommunicator.run(size) { communicator in
            let log = communicator.isFirst ? try LatentSetLog(of: path, settings: settings) : nil
            let latents = try ImageLatents(
                openImageText(images), buckets: AspectBuckets(resolution: 16, step: 4), vae: vae(),
                for: TinyModel.config(channels: 4), seed: 7)
            try latents.encode(into: log, workers: 2, skipLimit: 10, communicator: communicator, checkCaption: { _ in })
        }
        #expect(try whole.bytes("set.h5.part/samples.log") == output.bytes("set.h5.part/samples.log"))
    }

    @Test("more images that cannot be used than allowed end the run; it continues with a larger limit")
    func skipLimit() throws {
        let (folder, output) = (try imageFolder(), try TemporaryFolder())
        let config = try TinyModel.config()
        let error = #expect(throws: DataSetError.self) {
            _ = try encode(folder, output, config: config, vae: nil, skipLimit: 0)
        }
        #expect(error?.description.contains("more than 0 samples cannot be used") == true)
        #expect(try encode(folder, output, config: config, vae: nil, skipLimit: 1).isComplete)
    }
}

@Suite struct TeacherLatentsTests {
    private let prompts = ["a red circle", "a blue square", "a green circle"]

    private func teacher(_ pipeline: DiffusionPipeline, states: Int = 0) throws -> TeacherLatents {
        try TeacherLatents(
            pipeline, prompts: prompts, imagesPerPrompt: 2, firstSeed: 11,
            options: GenerationOptions(sampler: .ddim, steps: 6, guidanceScale: 2, batchSize: 4),
            trajectoryStates: states)
    }

    @Test("samples are those of the pipeline, with states of their trajectories")
    func samples() throws {
        let output = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let encoder = try PromptEncoder(pipeline)
        let teacher = try teacher(pipeline, states: 3)
        #expect(teacher.count == 6)
        let timesteps = try teacher.trajectoryTimesteps()
        #expect(timesteps.count == 3 && timesteps == timesteps.sorted(by: >))
        let log = try LatentSetLog(of: output.file("set.h5"), settings: settings, block: 4, total: 6)
        try teacher.sample(into: log, embeddings: { try encoder.embeddings($0) })
        let expected = try pipeline.generate(
            encoder.embeddings(["a red circle", "a red circle", "a blue square", "a blue square"]),
            seeds: [11, 12, 13, 14],
            options: GenerationOptions(sampler: .ddim, steps: 6, guidanceScale: 2, batchSize: 4))
        for (row, entry) in try log.entries().prefix(4).enumerated() {
            let sample = try #require(entry)
            #expect(sample.captions == [prompts[row / 2]])
            #expect(
                sample.values["mean"]?.values
                    == expected.sliced(axis: 0, row..<row + 1).roundedToFloat16.values)
            #expect(sample.values["trajectory"]?.shape == [3, 4, 8, 8])
        }
    }

    @Test("a run that stops within a block repeats it")
    func resuming() throws {
        let (whole, parts) = (try TemporaryFolder(), try TemporaryFolder())
        let pipeline = try TinyModel.pipeline(channels: 4)
        let encoder = try PromptEncoder(pipeline)
        let teacher = try teacher(pipeline)
        func run(_ folder: TemporaryFolder, until limit: Double) throws {
            let log = try LatentSetLog(of: folder.file("set.h5"), settings: settings, block: 4, total: 6)
            var done = 0.0
            try teacher.sample(
                into: log, embeddings: { try encoder.embeddings($0) },
                interruption: { if done > limit { throw Stop() } }, progress: { done = $0 })
        }
        try run(whole, until: .infinity)
        for limit in [1.5, 4.5] { #expect(throws: Stop.self) { try run(parts, until: limit) } }
        try run(parts, until: .infinity)
        #expect(try whole.bytes("set.h5.part/samples.log") == parts.bytes("set.h5.part/samples.log"))
    }

    @Test("1 to 3 processes write the same log", arguments: [1, 2, 3])
    func processes(size: Int) throws {
        let (whole, output) = (try TemporaryFolder(), try TemporaryFolder())
        let (expected, found) = (whole.file("set.h5"), output.file("set.h5"))
        let run = { @Sendable (path: String, communicator: any Communicator) in
            let pipeline = try TinyModel.pipeline(channels: 4)
            let encoder = try PromptEncoder(pipeline)
            let log =
                communicator.isFirst ? try LatentSetLog(of: path, settings: settings, block: 4, total: 6) : nil
            let teacher = try TeacherLatents(
                pipeline, prompts: ["a red circle", "a blue square", "a green circle"], imagesPerPrompt: 2,
                firstSeed: 11, options: GenerationOptions(sampler: .ddim, steps: 6, guidanceScale: 2, batchSize: 4),
                trajectoryStates: 2)
            try teacher.sample(
                into: log, communicator: communicator, embeddings: { try encoder.embeddings($0) })
        }
        try run(expected, SingleProcess())
        _ = try ThreadCommunicator.run(size) { try run(found, $0) }
        #expect(try whole.bytes("set.h5.part/samples.log") == output.bytes("set.h5.part/samples.log"))
    }

    @Test("models that edit images cannot be sampled without images")
    func conditions() throws {
        let pipeline = try TinyModel.pipeline(TinyModel.config(channels: 4, condition: 5))
        #expect(throws: DataSetError.self) { _ = try teacher(pipeline) }
    }
}
