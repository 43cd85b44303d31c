// SPDX-License-Identifier: Apache-2.0
// The YAML files in Configs/ against what the program has built in.

import BitsFusion
import Foundation
import ShapesWorld
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite struct ConfigFileTests {
    private static func path(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../Configs/\(name)").standardizedFileURL.path
    }

    @Test("Configs/distill-shapes.yaml and distill-sd15.yaml say what is built in")
    func distillation() throws {
        let shapes = try YAMLDocument.read(DistillationOptions.self, from: Self.path("distill-shapes.yaml"))
        #expect(shapes == .shapes)
        let paper = try YAMLDocument.read(DistillationOptions.self, from: Self.path("distill-sd15.yaml"))
        #expect(paper == .paper)
    }

    @Test(
        "both phases of the shipped teacher are recipes for 2 to 4 million parameters that the trainer takes",
        arguments: ["shapes.yaml", "shapes-relations.yaml"])
    func teacher(name: String) throws {
        let recipe = try YAMLDocument.read(TeacherTrainingConfig.self, from: Self.path(name))
        let config = try UNet2DConditionConfig(json: AtomicFile.read(Self.path(recipe.unet)))
        let trainer = try TeacherTrainer(recipe, unetConfig: config)
        let parameters = trainer.pipeline.stores.reduce(0) { $0 + $1.elementCount }
        #expect((2_000_000...4_000_000).contains(parameters))
    }

    @Test("a key that nothing reads is refused by name")
    func unknownKey() throws {
        let text = try String(contentsOfFile: Self.path("distill-shapes.yaml"), encoding: .utf8)
        let folder = try TemporaryFolder()
        let path = try folder.write("unknown-key.yaml", text + "stage3: {}\n")
        #expect {
            try YAMLDocument.read(DistillationOptions.self, from: path)
        } throws: { error in
            "\(error)".contains("stage3: unknown key")
        }
    }
}
