// SPDX-License-Identifier: Apache-2.0
// Exports of packed models take time layers only from a model that gives the cached features.

import Checkpoints
import Foundation
import Networks
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct TimeLayerExportTests {
    /// Writes m<seed>.h5, a random model, in the element type `type`.
    private func model(
        _ seed: UInt64, as type: ElementType = .float32, in folder: TemporaryFolder
    ) throws -> CheckpointReader {
        let path = folder.file("m\(seed)-\(type).h5")
        let source = folder.file("m\(seed).h5")
        try TinyModel.pipeline(TinyModel.config(channels: 4), seed: seed)
            .writeModel(to: source, manifest: TinyModel.manifest)
        guard type != .float32 else { return try CheckpointReader(source) }
        let reader = try CheckpointReader(source)
        let writer = try CheckpointWriter(path, header: reader.header)
        for key in reader.parameters.keys {
            let stored = try reader.parameters.encoded(key, as: type)
            try stored.bytes.withUnsafeBytes {
                try writer.write(key, type: stored.type, shape: stored.shape, bytes: $0)
            }
        }
        try writer.finish()
        return try CheckpointReader(path)
    }

    private func packed(_ model: CheckpointReader, in folder: TemporaryFolder) throws -> DiffusersExport {
        let pipeline = try DiffusionPipeline(model)
        try pipeline.quantize(
            recipe: TinyModel.recipe(2, of: TinyModel.config(channels: 4)), initialization: .paper)
        let path = folder.file("packed.h5")
        try pipeline.writePacked(
            to: path, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: [1, 21, 500, 981]))
        return try DiffusersExport(CheckpointReader(path))
    }

    @Test("the model itself and its float16 version give the cached features, another model does not")
    func features() throws {
        let folder = try TemporaryFolder()
        let own = try model(1, in: folder)
        let export = try packed(own, in: folder)
        #expect(export.model.missingParts == [.timeLayers])
        try export.write(to: DiffusersFolderWriter(folder.file("own")), original: own)
        try export.write(
            to: DiffusersFolderWriter(folder.file("half")), original: model(1, as: .float16, in: folder))
        let other = try model(2, in: folder)
        let error = #expect(throws: PipelineError.self) {
            try export.write(to: DiffusersFolderWriter(folder.file("other")), original: other)
        }
        guard case .otherTimeLayers(other.path, folder.file("packed.h5"), _, let difference, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(difference > 0.1 && error?.category == .badData)
        #expect(!FileManager.default.fileExists(atPath: folder.file("other")))
    }

    @Test("one time layer that was changed by a hundredth is found")
    func smallChanges() throws {
        let folder = try TemporaryFolder()
        let own = try model(1, in: folder)
        let export = try packed(own, in: folder)
        let path = folder.file("changed.h5"), key = "mid_block.resnets.0.time_emb_proj.weight"
        let writer = try CheckpointWriter(path, header: own.header)
        for name in own.parameters.keys {
            let value = try own.parameters.tensor(name)
            try writer.write(name, name == key ? value * 1.01 : value)
        }
        try writer.finish()
        let error = #expect(throws: PipelineError.self) {
            try export.write(to: DiffusersFolderWriter(folder.file("changed")), original: CheckpointReader(path))
        }
        guard case .otherTimeLayers(path, _, "mid_block.resnets.0", _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}
