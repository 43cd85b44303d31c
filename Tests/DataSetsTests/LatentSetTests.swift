// SPDX-License-Identifier: Apache-2.0
// Latent sets: buckets, order, the log of samples, the file, and what training reads from it.

import Checkpoints
import Files
import Foundation
import Images
import Layers
import Networks
import Pipelines
import Tensors
import TestKit
import Testing

@testable import DataSets

@Suite struct AspectBucketsTests {
    @Test("the sizes for 512 pixels in steps of 64 are those of kohya's trainers")
    func sizes() {
        let sizes = AspectBuckets(resolution: 512, step: 64).sizes.map { [$0.width, $0.height] }
        // Width and height as of model_util.make_bucket_resolutions((512, 512)).
        #expect(
            sizes == [
                [256, 832], [256, 896], [256, 960], [256, 1024], [320, 704], [320, 768], [384, 640], [448, 576],
                [512, 512], [576, 448], [640, 384], [704, 320], [768, 320], [832, 256], [896, 256], [960, 256],
                [1024, 256],
            ])
        for size in sizes {
            #expect(size[0] * size[1] <= 512 * 512)
            #expect(sizes.contains([size[1], size[0]]))
        }
    }

    @Test(
        "an image goes to the size with the closest aspect ratio",
        arguments: [
            (512, 512, 512, 512), (4000, 3000, 576, 448), (3000, 4000, 448, 576), (5000, 100, 1024, 256),
        ])
    func closest(width: Int, height: Int, expectedWidth: Int, expectedHeight: Int) {
        let size = AspectBuckets(resolution: 512, step: 64).size(forWidth: width, height: height)
        #expect(size == BucketSize(height: expectedHeight, width: expectedWidth))
    }

    @Test(
        "images cover the size and lose equal parts on both sides",
        arguments: [
            (100, 60, 32, 32), (60, 100, 32, 32), (7, 5, 64, 16), (33, 32, 32, 32), (10, 400, 16, 48),
        ])
    func crops(width: Int, height: Int, targetWidth: Int, targetHeight: Int) {
        let original = RGBImage(width: width, height: height, filledWith: [0.2, 0.4, 0.6])
        let result = ResizedImage(original, size: BucketSize(height: targetHeight, width: targetWidth))
        #expect(result.image.width == targetWidth && result.image.height == targetHeight)
        #expect(Array(result.timeIDs[0...1]) == [Float(height), Float(width)])
        #expect(Array(result.timeIDs[4...5]) == [Float(targetHeight), Float(targetWidth)])
        #expect(result.timeIDs[2] == 0 || result.timeIDs[3] == 0, "one side fits exactly")
    }
}

@Suite struct SampleOrderTests {
    private let groups: [[UInt32]] = [Array(0..<7), [], Array(0..<12)]

    @Test("every sample is in an epoch, batches have one group, and epochs differ")
    func epochs() {
        var order = SampleOrder(groups: groups, batchSize: 3, seed: 5)
        #expect(order.batchesPerEpoch == 7)
        var epochs: [[SamplePosition]] = []
        for epoch in 0..<3 {
            let batches = (0..<7).map { order.batch(epoch * 7 + $0) }
            for batch in batches { #expect(Set(batch.map(\.group)).count == 1 && batch.count == 3) }
            let seen = batches.flatMap { $0 }
            #expect(Set(seen).count == 19)
            epochs.append(seen)
        }
        #expect(epochs[0] != epochs[1] && epochs[1] != epochs[2])
    }

    @Test("a batch depends on its index and the seed alone")
    func randomAccess() {
        var (forward, backward) = (
            SampleOrder(groups: groups, batchSize: 2, seed: 1), SampleOrder(groups: groups, batchSize: 2, seed: 1)
        )
        let expected = (0..<40).map { forward.batch($0) }
        #expect((0..<40).reversed().map { backward.batch($0) }.reversed() == expected)
        var other = SampleOrder(groups: groups, batchSize: 2, seed: 2)
        #expect((0..<40).map { other.batch($0) } != expected)
    }
}

/// Settings of a set for the tiny model.
private func settings(_ change: (inout LatentSetSettings) -> Void = { _ in }) -> LatentSetSettings {
    var settings = LatentSetSettings(
        model: "m", source: "s", textEncoders: ["text_encoder"], scalingFactor: 0.5, shiftFactor: 0.25,
        conditionChannels: 0, options: ["resolution": "16"])
    change(&settings)
    return settings
}

/// Sample `index`: latents of one of two sizes, one or two captions.
private func sample(_ index: Int, logvar: Bool = true, further: [String: Tensor] = [:]) -> LatentSample {
    var random = Philox(seed: 9, stream: UInt64(index))
    let shape = index % 3 == 0 ? [4, 8, 8] : [4, 4, 12]
    var values = ["mean": random.normal(shape).roundedToFloat16]
    if logvar { values["logvar"] = (random.normal(shape) - 4).roundedToFloat16 }
    return LatentSample(
        key: "images/\(index).png", captions: index % 2 == 0 ? ["a red circle"] : ["a blue square", "a green circle"],
        timeIDs: [20, 30, 1, 2, 16, 16].map { $0 + Float(index) }, values: values.merging(further) { $1 })
}

private func ids(_ caption: String) -> [[Int32]] { [(0..<12).map { Int32((caption.utf8.count + $0) % 8) }] }

/// A set of `count` samples, the third one skipped.
private func writeSet(
    _ folder: TemporaryFolder, _ name: String = "set.h5", count: Int = 8, logvar: Bool = true,
    _ settings: LatentSetSettings = settings(), tokenIDs: (String) throws -> [[Int32]] = ids,
    further: (Int) -> [String: Tensor] = { _ in [:] }
) throws -> LatentSetReader {
    let path = folder.file(name)
    let log = try LatentSetLog(of: path, settings: settings)
    for index in 0..<count {
        if index == 2 { try log.append(.skipped(SkippedSample(key: "images/2.png", reason: "damaged"))) }
        try log.append(.sample(sample(index, logvar: logvar, further: further(index))))
    }
    try log.write(to: path, settings: settings, manifest: "{}", tokenIDs: tokenIDs)
    return try LatentSetReader(path)
}

@Suite struct LatentSetFileTests {
    @Test("samples, captions, sizes and skipped samples come back as they were written")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        let set = try writeSet(folder)
        #expect(try LatentSetReader.isLatentSet(folder.file("set.h5")))
        #expect(set.settings == settings() && set.count == 8 && set.captionCount == 12 && set.tokenCounts == [12])
        #expect(set.skipped == [SkippedSample(key: "images/2.png", reason: "damaged")])
        #expect(set.groups.map { [$0.height, $0.width, $0.count, $0.channels] } == [[4, 12, 5, 4], [8, 8, 3, 4]])
        for (group, indices) in zip(set.groups, [[1, 2, 4, 5, 7], [0, 3, 6]]) {
            for (row, index) in indices.enumerated() {
                let expected = sample(index)
                let found = try set.description(row, of: group)
                #expect(found.key == expected.key && found.captions == expected.captions)
                #expect(found.timeIDs == expected.timeIDs)
                for name in ["mean", "logvar"] {
                    #expect(try set.values(name, row, of: group)?.values == expected.values[name]?.values)
                }
                for (caption, text) in zip(try set.captionRange(row, of: group), expected.captions) {
                    #expect(try set.tokenIDs(caption) == ids(text))
                }
            }
        }
    }

    @Test("empty captions, and texts of any length and script")
    func texts() throws {
        let folder = try TemporaryFolder()
        let log = try LatentSetLog(of: folder.file("set.h5"), settings: settings())
        let captions = ["", "Ü – 画像 🎨", String(repeating: "long ", count: 1000)]
        for (index, caption) in captions.enumerated() {
            let values = ["mean": Tensor.full([4, 2, 2], Float(index))]
            let sample = LatentSample(
                key: caption, captions: [caption], timeIDs: [0, 0, 0, 0, 0, 0], values: values)
            try log.append(.sample(sample))
        }
        try log.write(to: folder.file("set.h5"), settings: settings(), manifest: "{}", tokenIDs: ids)
        let set = try LatentSetReader(folder.file("set.h5"))
        for (row, caption) in captions.enumerated() {
            #expect(try set.description(row, of: set.groups[0]).captions == [caption])
            #expect(try set.description(row, of: set.groups[0]).key == caption)
        }
        let empty = try LatentSetLog(of: folder.file("empty.h5"), settings: settings())
        let sample = LatentSample(
            key: "", captions: [""], timeIDs: [0, 0, 0, 0, 0, 0], values: ["mean": .zeros([4, 2, 2])])
        try empty.append(.sample(sample))
        try empty.write(to: folder.file("empty.h5"), settings: settings(), manifest: "{}", tokenIDs: ids)
        #expect(try LatentSetReader(folder.file("empty.h5")).caption(0).isEmpty)
    }

    @Test("a log that was cut off at any byte continues to the same file, with whole blocks", arguments: [1, 2])
    func recovery(block: Int) throws {
        let folder = try TemporaryFolder()
        let whole = try writeSet(folder, "whole.h5", count: 4)
        let expected = try folder.bytes("whole.h5")
        let log = try folder.bytes("whole.h5.part/samples.log")
        let settingsText = try folder.bytes("whole.h5.part/settings.json")
        #expect(whole.count == 4)
        var counts: Set<Int> = []
        for cut in stride(from: 0, through: log.count, by: 97) {
            try folder.write("cut.h5.part/settings.json", settingsText)
            try folder.write("cut.h5.part/samples.log", Array(log.prefix(cut)))
            let path = folder.file("cut.h5")
            let resumed = try LatentSetLog(of: path, settings: settings(), block: block)
            #expect(resumed.count % block == 0)
            counts.insert(resumed.count)
            // The skipped sample is the third of five entries.
            for entry in resumed.count..<5 {
                if entry == 2 {
                    try resumed.append(.skipped(SkippedSample(key: "images/2.png", reason: "damaged")))
                } else {
                    try resumed.append(.sample(sample(entry < 2 ? entry : entry - 1)))
                }
            }
            try resumed.write(to: path, settings: settings(), manifest: "{}", tokenIDs: ids)
            #expect(try folder.bytes("cut.h5") == expected)
        }
        #expect(counts == (block == 1 ? [0, 1, 2, 3, 4] : [0, 2, 4]))
    }

    @Test("damaged bytes end the log before them")
    func damage() throws {
        let folder = try TemporaryFolder()
        _ = try writeSet(folder, count: 3)
        var log = try folder.bytes("set.h5.part/samples.log")
        log[log.count - 30] ^= 1
        try folder.write("set.h5.part/samples.log", log)
        #expect(try LatentSetLog(of: folder.file("set.h5"), settings: settings()).count == 3)
    }

    @Test("removing an unfinished set leaves nothing")
    func removal() throws {
        let folder = try TemporaryFolder()
        _ = try LatentSetLog(of: folder.file("set.h5"), settings: settings())
        #expect(try LatentSetLog.savedSettings(of: folder.file("set.h5")) != nil)
        try LatentSetLog.remove(of: folder.file("set.h5"))
        #expect(folder.names.isEmpty)
        #expect(try LatentSetLog.savedSettings(of: folder.file("set.h5")) == nil)
    }

    @Test("a set without samples is refused")
    func noSamples() throws {
        let folder = try TemporaryFolder()
        let log = try LatentSetLog(of: folder.file("set.h5"), settings: settings())
        try log.append(.skipped(SkippedSample(key: "a", reason: "b")))
        #expect(throws: DataSetError.noSamples(skipped: 1)) {
            try log.write(to: folder.file("set.h5"), settings: settings(), manifest: "{}", tokenIDs: ids)
        }
        #expect(!FileManager.default.fileExists(atPath: folder.file("set.h5")))
    }

    @Test("h5py reads the set as Docs/Formats.md describes it", .enabled(if: Python.has("h5py"), "h5py is missing"))
    func readByPython() throws {
        let folder = try TemporaryFolder()
        _ = try writeSet(folder)
        let output = try Python.run(
            """
            import h5py, json, sys
            with h5py.File(sys.argv[1]) as f:
                group = f["latents/4x12"]
                start, end = f["captions/text_offsets"][3:5]
                print(f.attrs["format"].decode() if isinstance(f.attrs["format"], bytes) else f.attrs["format"],
                      group["mean"].dtype, group["mean"].shape, group["captions"][1].tolist(),
                      f["captions/text"][start:end].tobytes().decode(), f["captions/input_ids"].shape,
                      json.loads(f["header/settings"][()])["scalingFactor"])
            """, folder.file("set.h5"))
        #expect(
            output.trimmingCharacters(in: .whitespacesAndNewlines)
                == "bitsfusion-latents float16 (5, 4, 4, 12) [3, 1] a red circle (12, 12) 0.5")
    }
}

@Suite struct LatentSetDataTests {
    private func data(
        _ set: LatentSetReader, _ pipeline: DiffusionPipeline, batchSize: Int = 2, stepSize: Int? = nil,
        seed: UInt64 = 3, bytes: Int = 1 << 20
    ) throws -> LatentSetData {
        try LatentSetData(
            set, for: pipeline.denoiser.config, encoder: PromptEncoder(pipeline),
            options: LatentSetOptions(batchSize: batchSize, stepSize: stepSize, seed: seed, embeddingBytes: bytes))
    }

    private func tokens(_ pipeline: DiffusionPipeline) throws -> (String) throws -> [[Int32]] {
        let encoder = try PromptEncoder(pipeline)
        return encoder.tokenIDs
    }

    @Test("a batch is drawn from the VAE's distribution, scaled, with the embeddings of its captions")
    func batches() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let encoder = try PromptEncoder(pipeline)
        let set = try writeSet(folder, tokenIDs: tokens(pipeline))
        let data = try data(set, pipeline)
        var random = Philox(seed: 0)
        let captions = ["a red circle", "a blue square", "a green circle"]
        let embeddings = try captions.map { encoder.encode(tokenIDs: [try encoder.tokenIDs($0)]).context.values }
        var sizes: Set<[Int]> = []
        for batch in 0..<6 {
            let result = try data.batch(batch * 2..<batch * 2 + 2, textDropping: 0, random: &random)
            sizes.insert(Array(result.samples.shape.dropFirst()))
            #expect(result.samples.shape[0] == 2 && result.encoderHiddenStates.shape == [2, 12, 12])
            #expect(result.addedConditions == nil && result.states == nil)
            for row in 0..<2 {
                let context = result.encoderHiddenStates.sliced(axis: 0, row..<row + 1).values
                #expect(embeddings.contains(context))
                // A draw is within a few standard deviations of the mean of one of the samples.
                let drawn = result.samples.sliced(axis: 0, row..<row + 1).values
                let distances = (0..<8).compactMap { index -> Float? in
                    let expected = sample(index)
                    guard let mean = expected.values["mean"], let logvar = expected.values["logvar"],
                        mean.count == drawn.count
                    else { return nil }
                    return zip(drawn, zip(mean.values, logvar.values)).map { value, expected in
                        abs(value - (expected.0 - 0.25) * 0.5) / (0.5 * exp(expected.1 / 2))
                    }.max()
                }
                let nearest = try #require(distances.min())
                #expect(nearest > 0.5 && nearest < 6)
            }
        }
        #expect(sizes == [[4, 8, 8], [4, 4, 12]])
        #expect(random == Philox(seed: 0), "the stream of the step is not used")
    }

    @Test("batches do not depend on earlier ones, on prefetching or on the memory for embeddings")
    func randomAccess() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let set = try writeSet(folder, tokenIDs: tokens(pipeline))
        // Steps of 5 samples in parts of 2, 2 and 1.
        let parts = (0..<4).flatMap { step in
            [0..<2, 2..<4, 4..<5].map { $0.lowerBound + 5 * step..<$0.upperBound + 5 * step }
        }
        func values(_ data: LatentSetData, _ part: Range<Int>) throws -> [[Float]] {
            var random = Philox(seed: 0)
            let batch = try data.batch(part, textDropping: 0.3, random: &random)
            return [batch.samples.values, batch.encoderHiddenStates.values]
        }
        let forward = try data(set, pipeline, stepSize: 5)
        let expected = try parts.map { try values(forward, $0) }
        let backward = try data(set, pipeline, stepSize: 5, bytes: 0)
        for (part, expected) in zip(parts, expected).reversed() { #expect(try values(backward, part) == expected) }
        let other = try data(set, pipeline, stepSize: 5, seed: 4)
        #expect(try parts.map { try values(other, $0) } != expected)
    }

    @Test("dropped captions become the empty prompt")
    func dropping() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let data = try data(writeSet(folder, tokenIDs: tokens(pipeline)), pipeline)
        var random = Philox(seed: 0)
        let empty = try PromptEncoder(pipeline).emptyEmbedding().context.values
        let batch = try data.batch(0..<2, textDropping: 1, random: &random)
        #expect(batch.encoderHiddenStates.values == empty + empty)
    }

    @Test("states of trajectories come with their timesteps")
    func trajectories() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let set = try writeSet(
            folder, logvar: false, settings { $0.trajectoryTimesteps = [900, 500.5, 20] }, tokenIDs: tokens(pipeline)
        ) { index in
            let size = index % 3 == 0 ? [8, 8] : [4, 12]
            return ["trajectory": .concatenated((0..<3).map { .full([1, 4] + size, Float(10 * index + $0)) }, axis: 0)]
        }
        let data = try data(set, pipeline, batchSize: 1)
        var random = Philox(seed: 0)
        var found: Set<Float> = []
        for index in 0..<24 {
            let states = try #require(try data.batch(index..<index + 1, textDropping: 0, random: &random).states)
            let value = states.samples.values[0]
            #expect(states.timesteps == [[900, 500.5, 20][Int(value) % 10]])
            found.insert(value)
        }
        #expect(found.count > 8)
    }

    @Test("sets for other models are refused")
    func otherModels() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(channels: 4)
        let tokens = try tokens(pipeline)
        let set = try writeSet(folder, tokenIDs: tokens)
        func property(_ set: LatentSetReader, _ pipeline: DiffusionPipeline) throws -> String? {
            let error = #expect(throws: DataSetError.self) { _ = try data(set, pipeline) }
            guard case .otherModel(_, let property, _, _) = error else { return nil }
            return property
        }
        #expect(try property(set, TinyModel.pipeline(channels: 3)) == "channels of latents and conditions")
        let two = try writeSet(
            folder, "two.h5", settings { $0.textEncoders.append("text_encoder_2") },
            tokenIDs: { try tokens($0) + tokens($0) })
        #expect(try property(two, pipeline) == "text encoders")
        let short = try writeSet(folder, "short.h5", tokenIDs: { [Array(try tokens($0)[0].prefix(5))] })
        #expect(try property(short, pipeline) == "tokens of a caption")
        let large = try writeSet(folder, "large.h5", tokenIDs: { [try tokens($0)[0].map { $0 + 1000 }] })
        let error = #expect(throws: DataSetError.self) { _ = try data(large, pipeline) }
        guard case .value(_, let name, 0, _, _) = error else {
            Issue.record("expected an error of a token id, found \(String(describing: error))")
            return
        }
        #expect(name == "captions/input_ids")
    }
}
