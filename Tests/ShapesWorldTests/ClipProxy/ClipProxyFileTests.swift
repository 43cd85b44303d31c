// SPDX-License-Identifier: Apache-2.0
// CLIP-proxies in files: contents after writing and reading, and errors.

import Checkpoints
import Evaluation
import Foundation
import Layers
import Networks
import Recipes
import Tensors
import TestKit
import Testing

@testable import ShapesWorld

@Suite struct ClipProxyFileTests {
    private let proxy: ClipProxy
    private let manifest = RunManifest(toolVersion: "0", commandLine: ["test"], seed: 4, inputs: [])

    init() throws {
        let text = try TinyModel.textConfig(vocabSize: 9, maxPositionEmbeddings: 5, hiddenSize: 16)
        let config = try ClipProxyConfig(
            textConfig: text, visionChannels: [8, 8], visionStrides: [1, 2], projectionDim: 12)
        proxy = try ClipProxy(
            config: config, parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 4)))
        )
    }

    @Test("a proxy is equal after writing and reading") func roundTrip() throws {
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try proxy.write(to: path, manifest: manifest)
            let again = try ClipProxy(file: path)
            #expect(again.config == proxy.config)
            let (written, read) = (proxy.store.entries, again.store.entries)
            #expect(written.map(\.key) == read.map(\.key))
            for (one, other) in zip(written, read) {
                #expect(one.source.tensor().values == other.source.tensor().values, "\(one.key)")
            }
        }
    }

    @Test("half precision changes scores by less than 0.001")
    func halfPrecision() throws {
        var random = Philox(seed: 1)
        let images = random.normal([4, 3, 8, 8])
        let ids = (0..<20).map { Int32($0 % 9) }
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try proxy.write(to: path, manifest: manifest, as: .float16)
            let again = try ClipProxy(file: path)
            let keys = try CheckpointReader(path, formats: [.clip]).parameters
            #expect(keys.keys.allSatisfy { keys.stored($0)?.type == .float16 })
            expectClose(
                again.score(images, ids: ids).map(Double.init),
                proxy.score(images, ids: ids).map(Double.init),
                within: 1e-3)
            #expect(again.score(images, ids: ids) != proxy.score(images, ids: ids))
        }
    }

    @Test("a training state can be written to the file of a proxy") func extra() throws {
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try proxy.write(to: path, manifest: manifest) { writer in
                try writer.writeTrainingState(json: #"{"step": 3}"#)
                try writer.write("averages/a.b", in: .training, Tensor([1, 2], shape: [2]))
            }
            _ = try ClipProxy(file: path)
            let state = try #require(try CheckpointReader(path, formats: [.clip]).trainingState())
            #expect(state.json == #"{"step": 3}"#)
            #expect(try state.tensors.tensor("averages/a.b").values == [1, 2])
        }
    }

    @Test("reading a proxy as a model is an error of its own") func otherKind() throws {
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try proxy.write(to: path, manifest: manifest)
            #expect(throws: CheckpointError.imageTextEncoder(file: path)) { try CheckpointReader(path) }
        }
    }

    @Test("an incomplete config is an error that names the missing key") func brokenConfig() throws {
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            let header = CheckpointHeader(
                format: .clip, architecture: ClipProxy.architecture, component: "clip",
                config: #"{"vision_channels": [8]}"#, manifest: "{}")
            let writer = try CheckpointWriter(path, header: header)
            try writer.write("logit_scale", .zeros([1]))
            try writer.finish()
            let error = #expect(throws: HDF5Error.self) { try ClipProxy(file: path) }
            #expect(error?.description.contains("vision_strides") == true)
        }
    }

    @Test("parameters that the architecture does not have are an error") func unusedKeys() throws {
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try proxy.write(to: path, manifest: manifest) { try $0.write("extra", .zeros([1])) }
            #expect(throws: CheckpointError.unusedKeys(file: path, keys: ["extra"])) {
                try ClipProxy(file: path)
            }
        }
    }
}
