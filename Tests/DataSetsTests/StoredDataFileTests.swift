// SPDX-License-Identifier: Apache-2.0
// Distillation sets in HDF5 files. The fixtures are written by h5py: Tests/Fixtures/make_data_set_fixture.py.

import Files
import Foundation
import Networks
import Tensors
import TestKit
import Testing

@testable import DataSets

@Suite struct StoredDataFileTests {
    private func fixture(_ name: String) -> String {
        Bundle.module.bundleURL.appendingPathComponent("Fixtures/\(name).h5").path
    }

    /// The data sets of eight samples of the tiny model, with `changes`; nil leaves a data set out.
    private func set(_ changes: [String: Tensor?] = [:]) -> [String: Tensor] {
        var random = Philox(seed: 5)
        var tensors: [String: Tensor?] = [
            "latents": random.normal([8, 3, 8, 8]), "encoder_hidden_states": random.normal([8, 5, 12]),
            "empty_hidden_states": random.normal([1, 5, 12]),
        ]
        tensors.merge(changes) { $1 }
        return tensors.compactMapValues { $0 }
    }

    /// The same with SDXL's conditions, for 4 channels.
    private func addedSet(_ changes: [String: Tensor?] = [:]) -> [String: Tensor] {
        var random = Philox(seed: 6)
        var tensors: [String: Tensor?] = [
            "latents": random.normal([8, 4, 8, 8]), "text_embeds": random.normal([8, TinyModel.textEmbedsDim]),
            "empty_text_embeds": random.normal([1, TinyModel.textEmbedsDim]), "time_ids": .full([8, 6], 512),
        ]
        tensors.merge(changes) { $1 }
        return set(tensors)
    }

    private func read(
        _ tensors: [String: Tensor], integers: [String: [[Int64]]] = [:], for config: UNet2DConditionConfig
    ) throws -> StoredDistillationData {
        try TemporaryFolder.with { folder in
            try writeDataSets(tensors, integers: integers, to: folder.file("set.h5"))
            return try StoredDistillationData(contentsOf: folder.file("set.h5"), for: config)
        }
    }

    /// The error of reading `tensors`, with FILE in place of the file's path.
    private func failure(
        _ tensors: [String: Tensor], integers: [String: [[Int64]]] = [:], for config: UNet2DConditionConfig
    ) throws -> DataSetError? {
        try TemporaryFolder.with { folder in
            let path = folder.file("set.h5")
            try writeDataSets(tensors, integers: integers, to: path)
            let error = #expect(throws: DataSetError.self) {
                _ = try StoredDistillationData(contentsOf: path, for: config)
            }
            let text = error?.description ?? ""
            #expect(text.hasPrefix("\(path): data set ") && text.contains("; ") && !text.contains("\n"), "\(text)")
            #expect(!text.contains("weights") && !text.contains("checkpoint"), "\(text)")
            return error?.naming("FILE")
        }
    }

    @Test("other datasets of the file, such as captions, are ignored")
    func captions() throws {
        let set = try StoredDistillationData(contentsOf: fixture("captioned-set"), for: TinyModel.config())
        #expect(set.latents.shape == [2, 3, 8, 8])
        #expect(set.encoderHiddenStates.shape == [2, 5, 12])
        #expect(set.emptyHiddenStates.shape == [1, 5, 12])
        #expect(try set.latents.values() == (0..<384).map(Float.init))
        #expect(set.addedConditions == nil)
    }

    @Test("a set of another number of channels, samples, tokens or dimensions is refused by its data set")
    func shapes() throws {
        let config = try TinyModel.config()
        #expect(
            try failure(set(), for: TinyModel.config(channels: 4))
                == .shape(file: "FILE", name: "latents", expected: "[N, 4, H, W]", found: [8, 3, 8, 8]))
        #expect(
            try failure(set(["latents": .zeros([0, 3, 8, 8])]), for: config)
                == .shape(file: "FILE", name: "latents", expected: "[N, 3, H, W]", found: [0, 3, 8, 8]))
        #expect(
            try failure(set(["encoder_hidden_states": .zeros([7, 5, 12])]), for: config)
                == .count(file: "FILE", name: "encoder_hidden_states", samples: 8, found: 7))
        #expect(
            try failure(set(["encoder_hidden_states": .zeros([8, 5, 9])]), for: config)
                == .shape(
                    file: "FILE", name: "encoder_hidden_states", expected: "[8, T, 12]", found: [8, 5, 9]))
        #expect(
            try failure(set(["empty_hidden_states": .zeros([1, 4, 12])]), for: config)
                == .shape(file: "FILE", name: "empty_hidden_states", expected: "[1, 5, 12]", found: [1, 4, 12]))
        let halved = try UNet2DConditionConfig(
            json: Data(
                String(decoding: config.json, as: UTF8.self)
                    .replacing("\"sample_size\": 8", with: "\"sample_size\": 8, \"downsample_padding\": 0").utf8))
        #expect(
            try failure(set(["latents": .zeros([8, 3, 1, 8])]), for: halved)
                == .tooSmall(file: "FILE", found: [8, 3, 1, 8], halvings: 1))
    }

    @Test("a missing data set, one of other elements and a sample that is not finite are named")
    func contents() throws {
        let config = try TinyModel.config()
        for name in ["latents", "encoder_hidden_states", "empty_hidden_states"] {
            guard case .missing("FILE", name, _) = try failure(set([name: nil]), for: config) else {
                Issue.record("\(name)")
                continue
            }
        }
        let latents = try #require(set()["latents"])
        latents.withUnsafeMutableBufferPointer { values in
            values[3 * 192 + 7] = .nan
            values[5 * 192] = .infinity
        }
        #expect(
            try failure(set(["latents": latents]), for: config)
                == .notFinite(file: "FILE", name: "latents", sample: 3, count: 2))
        #expect(
            try failure(
                set(["encoder_hidden_states": nil]), integers: ["encoder_hidden_states": [[1, 2]]], for: config)
                == .elementType(file: "FILE", name: "encoder_hidden_states", found: "int64"))
    }

    @Test("float64, which NumPy makes by default, is refused with the conversion")
    func doubles() throws {
        let path = fixture("float64-set")
        let error = #expect(throws: DataSetError.self) {
            try StoredDistillationData(contentsOf: path, for: TinyModel.config())
        }
        #expect(error == .elementType(file: path, name: "latents", found: "float64"))
        #expect(error?.description.contains(".astype(\"float32\")") == true)
    }

    @Test("data sets of bfloat16 are read")
    func bfloat16() throws {
        let folder = try TemporaryFolder(), path = folder.file("set.h5")
        let tensors = set(["latents": Tensor.full([8, 3, 8, 8], 0.75)])
        try writeDataSets(tensors, asBfloat16: true, to: path)
        let read = try StoredDistillationData(contentsOf: path, for: TinyModel.config())
        #expect(try read.latents.values() == #require(tensors["latents"]).values)
    }

    @Test("a file of another kind is refused as a data set")
    func otherKinds() throws {
        let folder = try TemporaryFolder(), path = try folder.write("set.h5", "not HDF5")
        #expect(throws: DataSetError.wrongKind(file: path, found: .text)) {
            try StoredDistillationData(contentsOf: path, for: TinyModel.config())
        }
        #expect(throws: FileError.missingFile(path: folder.file("gone.h5"))) {
            try StoredDistillationData(contentsOf: folder.file("gone.h5"), for: TinyModel.config())
        }
    }

    @Test("batches from the file are those of the same set in memory")
    func streaming() throws {
        let config = try TinyModel.addedConfig()
        let tensors = addedSet()
        func tensor(_ name: String) throws -> Tensor { try #require(tensors[name]) }
        let memory = StoredDistillationData(
            latents: try tensor("latents"), encoderHiddenStates: try tensor("encoder_hidden_states"),
            emptyHiddenStates: try tensor("empty_hidden_states"),
            addedConditions: StoredAddedConditions(
                textEmbeds: try tensor("text_embeds"), emptyTextEmbeds: try tensor("empty_text_embeds"),
                timeIDs: try tensor("time_ids")))
        let file = try read(tensors, for: config)
        let batches = try [memory, file].map { data in
            var random = Philox(seed: 3)
            return try data.batch(0..<20, textDropping: 0.3, random: &random)
        }
        #expect(batches[0].samples.values == batches[1].samples.values)
        #expect(batches[0].encoderHiddenStates.values == batches[1].encoderHiddenStates.values)
        #expect(batches[0].addedConditions?.textEmbeds.values == batches[1].addedConditions?.textEmbeds.values)
        #expect(batches[0].addedConditions?.timeIDs.values == batches[1].addedConditions?.timeIDs.values)
    }

    @Test("SDXL's conditions are read, with sizes as integers too")
    func addedConditions() throws {
        let config = try TinyModel.addedConfig()
        let rows = (0..<8).map { row in [512, 768, 0, Int64(row), 512, 512] }
        for (tensors, integers) in [(addedSet(), [:]), (addedSet(["time_ids": nil]), ["time_ids": rows])] {
            let added = try #require(try read(tensors, integers: integers, for: config).addedConditions)
            #expect(try added.textEmbeds.values() == #require(tensors["text_embeds"]).values)
            #expect(added.emptyTextEmbeds.values == tensors["empty_text_embeds"]?.values)
            #expect(added.timeIDs.values == tensors["time_ids"]?.values ?? rows.flatMap { $0.map(Float.init) })
        }
    }

    @Test("SDXL's conditions that are missing or of another shape are named")
    func unfittingAddedConditions() throws {
        let config = try TinyModel.addedConfig()
        for name in ["text_embeds", "empty_text_embeds", "time_ids"] {
            guard case .missing("FILE", name, _) = try failure(addedSet([name: nil]), for: config) else {
                Issue.record("\(name)")
                continue
            }
        }
        #expect(
            try failure(addedSet(["text_embeds": .zeros([6, 10])]), for: config)
                == .count(file: "FILE", name: "text_embeds", samples: 8, found: 6))
        #expect(
            try failure(
                addedSet(["text_embeds": .zeros([8, 9]), "empty_text_embeds": .zeros([1, 9])]), for: config)
                == .shape(file: "FILE", name: "text_embeds", expected: "[8, 10]", found: [8, 9]))
        #expect(
            try failure(addedSet(["empty_text_embeds": .zeros([8, 10])]), for: config)
                == .shape(file: "FILE", name: "empty_text_embeds", expected: "[1, 10]", found: [8, 10]))
        #expect(
            try failure(addedSet(["time_ids": .zeros([1, 6])]), for: config)
                == .count(file: "FILE", name: "time_ids", samples: 8, found: 1))
        #expect(
            try failure(addedSet(["time_ids": .zeros([8, 9])]), for: config)
                == .shape(
                    file: "FILE", name: "time_ids", expected: "[8, I] with I below 34 / 4", found: [8, 9]))
    }

    @Test("a set for a model with condition channels has all channels of its input")
    func conditionChannels() throws {
        let config = try TinyModel.config(channels: 4, condition: 5)
        let data = try read(set(["latents": .ones([8, 9, 8, 8])]), for: config)
        #expect(data.latents.shape == [8, 9, 8, 8])
        #expect(
            try failure(set(["latents": .ones([8, 4, 8, 8])]), for: config)
                == .shape(file: "FILE", name: "latents", expected: "[N, 9, H, W]", found: [8, 4, 8, 8]))
    }

    @Test("samples that are not scaled or of another size than the model's have a warning")
    func warnings() throws {
        let config = try TinyModel.config()
        var random = Philox(seed: 8)
        let noise = random.normal([8, 3, 8, 8])
        func warnings(_ latents: Tensor, _ config: UNet2DConditionConfig) throws -> [DataSetWarning] {
            try read(set(["latents": latents]), for: config).warnings(for: config)
        }
        #expect(try warnings(noise, config) == [])
        #expect(try warnings(noise * 0.5 + 3, config) == [], "the mean does not count")
        for factor in [0.1, 5.5] as [Float] {
            let found = try warnings(noise * factor, config)
            guard case .standardDeviation(let value) = found.first, found.count == 1 else {
                Issue.record("\(factor): \(found)")
                continue
            }
            #expect(abs(value / Double(factor) - 1) < 0.1)
        }
        #expect(
            try warnings(random.normal([8, 3, 8, 12]), config) == [
                .size(found: SampleSize(height: 8, width: 12), expected: SampleSize(height: 8, width: 8))
            ])
        // Masks are 0 or 1, and images of instruct-pix2pix are not scaled.
        let conditioned = try TinyModel.config(channels: 3, condition: 4)
        let latents = Tensor.concatenated([noise, random.normal([8, 4, 8, 8]) * 40], axis: 1)
        #expect(try warnings(latents, conditioned) == [])
    }
}

extension DataSetError {
    /// The same error of the file `path`.
    fileprivate func naming(_ path: String) -> DataSetError {
        switch self {
        case .wrongKind(_, let found): .wrongKind(file: path, found: found)
        case .missing(_, let name, let contents): .missing(file: path, name: name, contents: contents)
        case .shape(_, let name, let expected, let found):
            .shape(file: path, name: name, expected: expected, found: found)
        case .count(_, let name, let samples, let found):
            .count(file: path, name: name, samples: samples, found: found)
        case .elementType(_, let name, let found): .elementType(file: path, name: name, found: found)
        case .notFinite(_, let name, let sample, let count):
            .notFinite(file: path, name: name, sample: sample, count: count)
        case .tooSmall(_, let found, let halvings): .tooSmall(file: path, found: found, halvings: halvings)
        default: self
        }
    }
}

extension StoredRows {
    /// All rows.
    fileprivate func values() throws -> [Float] { try (0..<shape[0]).flatMap { try row($0).values } }
}
