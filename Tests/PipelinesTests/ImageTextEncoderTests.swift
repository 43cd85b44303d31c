// SPDX-License-Identifier: Apache-2.0
// A CLIP folder, imported and read again: image processor, features and score against transformers and torchmetrics.
// Fixtures: python Tests/Fixtures/make_clip_score_fixtures.py (transformers 5.24.0, torchmetrics 1.9.0, Pillow 13).

import Checkpoints
import Evaluation
import Files
import Foundation
import Images
import Layers
import Networks
import Tensors
import TestKit
import Testing
import Tokenizers

@testable import Pipelines

private struct CLIPScoreFixture: Decodable {
    struct Image: Decodable {
        let width, height: Int
        let pixels: Data

        var image: RGBImage { RGBImage(width: width, height: height, interleaved: [UInt8](pixels)) }
    }

    struct Processor: Decodable {
        let options: String
        let samples, sums: [Double]
    }

    let images: [Image]
    let texts: [String]
    let isTruncated: [Bool]
    let pixelValues, pixelValueSums, imageFeatures, textFeatures, scores: [Double]
    let score: Double
    let processors: [Processor]

    static func read() throws -> CLIPScoreFixture { try fixture("clip-score", in: .module) }
}

/// The folder of the tiny CLIP model, and its parts in other folders.
private enum CLIPFixture {
    static let folder = Bundle.module.path(forResource: "Fixtures", ofType: nil).map { $0 + "/clip" } ?? ""

    /// The model file of the folder `path`, written to `temporary`.
    static func imported(_ path: String = folder, in temporary: TemporaryFolder) throws -> String {
        let file = temporary.file("clip.h5")
        try PipelineSource(path).writeModel(to: file, manifest: TinyModel.manifest)
        return file
    }

    /// A copy of the folder in `temporary` without the files `omitted`.
    static func copy(in temporary: TemporaryFolder, omitting omitted: String...) throws -> String {
        let path = temporary.file("copy")
        try FileManager.default.copyItem(atPath: folder, toPath: path)
        for name in omitted { try FileManager.default.removeItem(atPath: path + "/" + name) }
        return path
    }
}

@Suite(.tags(.golden)) struct CLIPImageProcessorTests {
    /// Every fifth row and column, and the sum of each channel: rounding of float32 sums is below 1e-4 of them.
    private func expectParity(_ processor: CLIPImageProcessor, _ samples: [Double], _ sums: [Double]) throws {
        let values = processor(try CLIPScoreFixture.read().images.map(\.image))
        let (count, size) = (values.shape[0], values.shape[2])
        var (found, totals): ([Float], [Double]) = ([], [])
        for plane in 0..<count * 3 {
            let pixels = Array(values.values[plane * size * size..<(plane + 1) * size * size])
            totals.append(pixels.reduce(0) { $0 + Double($1) })
            for row in stride(from: 0, to: size, by: 5) {
                for column in stride(from: 0, to: size, by: 5) { found.append(pixels[row * size + column]) }
            }
        }
        expectClose(found, samples, .roundings(8))
        expectClose(totals, sums, Tolerance(relativeToLargest: 1e-6))
    }

    @Test("pixel values equal those of transformers with Pillow")
    func parity() throws {
        let json = try Data(contentsOf: URL(filePath: CLIPFixture.folder + "/preprocessor_config.json"))
        let fixture = try CLIPScoreFixture.read()
        try expectParity(
            CLIPImageProcessor(json: json, imageSize: 16), fixture.pixelValues, fixture.pixelValueSums)
    }

    @Test("all options have the effect that they have in transformers")
    func options() throws {
        let processors = try CLIPScoreFixture.read().processors
        #expect(processors.count == 4)
        for reference in processors {
            try expectParity(
                CLIPImageProcessor(json: Data(reference.options.utf8), imageSize: 16), reference.samples,
                reference.sums)
        }
    }

    @Test("absent keys and null have transformers' defaults")
    func defaults() throws {
        let processor = try CLIPImageProcessor(json: Data(#"{"size": null, "do_resize": null}"#.utf8), imageSize: 224)
        #expect(processor.resizing == .shortestEdge(224) && processor.cropSize == SampleSize(square: 224))
        #expect(processor.rescaleFactor == 1.0 / 255 && processor.normalization?.mean.count == 3)
    }

    @Test(
        "options that are not supported are errors that name key and value",
        arguments: [
            (#"{"resample": 2}"#, "resample", "2"),
            (
                #"{"size": {"shortest_edge": 16, "longest_edge": 32}}"#, "size",
                "{\"longest_edge\": 32, \"shortest_edge\": 16}"
            ),
            (#"{"size": 0}"#, "size", "0"),
            (#"{"crop_size": {"shortest_edge": 16}}"#, "crop_size", "{\"shortest_edge\": 16}"),
            (#"{"crop_size": 15}"#, "crop_size", "15"),
            (#"{"do_center_crop": false}"#, "do_center_crop", "false"),
            (#"{"do_pad": true, "crop_size": 16}"#, "do_pad", "true"),
            (#"{"use_square_size": true, "crop_size": 16}"#, "use_square_size", "true"),
            (#"{"image_std": [1, 1, 0]}"#, "image_std", "[1, 1, 0]"),
            (#"{"image_mean": [1, 1]}"#, "image_mean", "[1, 1]"),
            (#"{"do_resize": 1}"#, "do_resize", "1"),
            (#"{"image_processor_type": "SiglipImageProcessor"}"#, "image_processor_type", "\"SiglipImageProcessor\""),
            (#"{"do_flip": true, "crop_size": 16}"#, "do_flip", "true"),
        ])
    func unsupported(json: String, key: String, value: String) {
        let error = #expect(throws: ConfigError.self) {
            try CLIPImageProcessor(json: Data(json.utf8), imageSize: 16)
        }
        guard case .unsupported(key, value, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}

@Suite(.tags(.golden)) struct ImageTextEncoderTests {
    @Test("features agree with transformers, and the CLIP score with torchmetrics")
    func parity() throws {
        let folder = try TemporaryFolder()
        let fixture = try CLIPScoreFixture.read()
        let encoder = try ImageTextEncoder(contentsOf: CLIPFixture.imported(in: folder))
        let images = encoder.imageFeatures(fixture.images.map(\.image))
        let texts = try encoder.textFeatures(fixture.texts)
        #expect(images.shape == [6, 10] && texts.shape == [6, 10])
        expectClose(images.values, fixture.imageFeatures, Tolerance.output)
        expectClose(texts.values, fixture.textFeatures, Tolerance.output)
        let scores = clipScores(imageFeatures: images, textFeatures: texts)
        // torchmetrics computes in Float32.
        expectClose(scores, fixture.scores, Tolerance(absolute: 1e-4))
        expectClose([clipScore(scores)], [fixture.score], Tolerance(absolute: 1e-4))
        #expect(try fixture.texts.map(encoder.isTruncated) == fixture.isTruncated)
    }

    @Test("embeddings of the model are its features as unit vectors")
    func normalized() throws {
        let folder = try TemporaryFolder()
        let model = try ImageTextEncoder(contentsOf: CLIPFixture.imported(in: folder)).model
        let pixels = fixtureUnit("pixels", [2, 3, 16, 16]), ids: [Int32] = [632, 1, 633, 632, 5, 633]
        for (embeds, features) in [
            (model.imageEmbeds(pixels), model.imageFeatures(pixels)),
            (model.textEmbeds(ids, batch: 2), model.textFeatures(ids, batch: 2)),
        ] {
            expectClose(embeds.square().sum(axes: [1]).values, [1, 1], Tolerance(absolute: 1e-6))
            expectClose(
                clipScores(imageFeatures: embeds, textFeatures: features), [100, 100], Tolerance(absolute: 1e-4))
        }
    }

    @Test("16-bit weights keep their type, and give features within their rounding")
    func halfPrecision() throws {
        let folder = try TemporaryFolder()
        let fixture = try CLIPScoreFixture.read()
        let path = folder.file("clip.h5")
        try PipelineSource(CLIPFixture.folder).writeModel(to: path, manifest: TinyModel.manifest, as: .float16)
        let reader = try CheckpointReader(path, formats: [.clip])
        #expect(reader.parameters.keys.allSatisfy { reader.parameters.stored($0)?.typeName == "float16" })
        let features = try ImageTextEncoder(reader).imageFeatures(fixture.images.map(\.image))
        expectClose(features.values, fixture.imageFeatures, Tolerance(relativeToLargest: 1e-2))
    }

    @Test("the file has the config, the image processor and the tokenizer of the folder")
    func file() throws {
        let folder = try TemporaryFolder()
        let reader = try CheckpointReader(CLIPFixture.imported(in: folder), formats: [.clip])
        func text(_ name: String) throws -> String {
            try String(contentsOfFile: CLIPFixture.folder + "/" + name, encoding: .utf8)
        }
        #expect(reader.header.architecture == "CLIPModel" && reader.header.component == "clip")
        #expect(try reader.header.config == text("config.json"))
        #expect(try reader.header.preprocessor == text("preprocessor_config.json"))
        #expect(try reader.header.tokenizers["tokenizer"]?["merges.txt"] == text("merges.txt"))
        #expect(reader.parameters.stored("logit_scale")?.shape == [])
        #expect(reader.parameters.keys.contains("vision_model.pre_layrnorm.weight"))
    }

    @Test("position ids, and a processor config of transformers 5, are read as transformers reads them")
    func otherLayouts() throws {
        let folder = try TemporaryFolder()
        let copy = try CLIPFixture.copy(in: folder, omitting: "preprocessor_config.json", "model.safetensors")
        let processor = try String(
            contentsOfFile: CLIPFixture.folder + "/preprocessor_config.json", encoding: .utf8)
        try folder.write("copy/processor_config.json", #"{"image_processor": \#(processor), "processor_class": "x"}"#)
        let weights = try SafetensorsReader(CLIPFixture.folder + "/model.safetensors")
        var announced = Dictionary(
            uniqueKeysWithValues: weights.keys.compactMap { key in weights.stored(key).map { (key, $0) } })
        let positions = "vision_model.embeddings.position_ids"
        announced[positions] = StoredTensor(type: .int64, shape: [1, 2])
        let writer = try SafetensorsWriter(copy + "/model.safetensors", tensors: announced)
        for key in weights.keys {
            try weights.tensor(key).withUnsafeBufferPointer { try writer.write(key, UnsafeRawBufferPointer($0)) }
        }
        try [Int64(0), 1].withUnsafeBytes { try writer.write(positions, $0) }
        try writer.finish()
        let other = try ImageTextEncoder(contentsOf: CLIPFixture.imported(copy, in: folder))
        let fixture = try CLIPScoreFixture.read()
        expectClose(
            other.imageFeatures(fixture.images.map(\.image)).values, fixture.imageFeatures, Tolerance.output)
    }

    @Test("a folder without image processor, without tokenizer or with other sizes is refused")
    func incomplete() throws {
        let folder = try TemporaryFolder()
        let missing = try CLIPFixture.copy(in: folder, omitting: "preprocessor_config.json")
        #expect(throws: PipelineSourceError.missingProcessor(path: missing + "/preprocessor_config.json")) {
            try PipelineSource(missing)
        }
        let other = try TemporaryFolder()
        let untokenized = try CLIPFixture.copy(in: other, omitting: "vocab.json")
        #expect(throws: PipelineError.missingComponent(name: "vocab.json", neededBy: "the text model of CLIP")) {
            try CLIPFixture.imported(untokenized, in: other)
        }
        let cropped = try TemporaryFolder()
        let small = try CLIPFixture.copy(in: cropped)
        try cropped.write("copy/preprocessor_config.json", #"{"crop_size": 12}"#)
        let error = #expect(throws: ConfigError.self) { try CLIPFixture.imported(small, in: cropped) }
        #expect(
            error
                == .inDocument(
                    "preprocessor_config.json",
                    .unsupported(key: "crop_size", value: "12", supported: "image_size of vision_config, 16")))
        #expect(cropped.names == ["copy"])
    }

    @Test("a CLIP file in place of a model, and the reverse, is refused by name")
    func otherKinds() throws {
        let folder = try TemporaryFolder()
        let clip = try CLIPFixture.imported(in: folder)
        #expect(throws: CheckpointError.imageTextEncoder(file: clip)) { try DiffusionPipeline(contentsOf: clip) }
        let model = try ReferencePipelines.imported("sd1", in: folder)
        #expect(throws: CheckpointError.diffusionModel(file: model, format: "bitsfusion-model")) {
            try ImageTextEncoder(contentsOf: model)
        }
    }
}
