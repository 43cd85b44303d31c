// SPDX-License-Identifier: Apache-2.0
// The YAML files in Configs/, and settings printed as YAML.

import BitsFusion
import Foundation
import ShapesWorld
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite struct ConfigFileTests {
    static func path(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../Configs/\(name)").standardizedFileURL.path
    }

    @Test("settings printed as YAML read back unchanged", arguments: [DistillationOptions.paper, .shapes])
    func printedSettings(options: DistillationOptions) throws {
        let folder = try TemporaryFolder()
        let text = try YAMLDocument.text(options)
        #expect(text.contains("textDropping: 0.1\n"))
        #expect(
            try YAMLDocument.read(DistillationOptions.self, from: folder.write("distill.yaml", text)) == options)
    }

    @Test("the config of the shipped teacher is that of its file, with at most 4 million parameters")
    func teacher() throws {
        let settings = try YAMLDocument.read(TeacherTrainingConfig.self, from: Self.path("shapes.yaml"))
        #expect(settings.clipProxy == "shapes")
        let config = try UNet2DConditionConfig(json: AtomicFile.read(Self.path(settings.unet)))
        let proxy = try ClipProxy(file: ShippedModels.clipProxy())
        let model = try TeacherTrainer(settings, unetConfig: config, clipProxy: (proxy, "")).model
        #expect((2_000_000...4_000_000).contains(model.denoiser.store.elementCount))
        let shipped = try DiffusionPipeline(contentsOf: ShippedModels.teacher())
        #expect(try shipped.layerInventory() == model.layerInventory())
        #expect(try shipped.noiseSchedule() == settings.schedule)
        let encoder = try #require(shipped.textEncoder)
        let own = proxy.store.entries.filter { $0.key.hasPrefix("text_model.") }
        #expect(!own.isEmpty)
        for entry in own {
            let found = encoder.store.entries.first { $0.key == entry.key }
            #expect(found?.source.tensor().values == entry.source.tensor().values, "\(entry.key)")
        }
    }

    private static let names: [String] = {
        let found = try? FileManager.default.contentsOfDirectory(atPath: path(""))
        return (found ?? []).filter { $0.hasSuffix(".yaml") }.sorted()
    }()

    @Test("every YAML file has the keys and ranges of the settings of its command", arguments: names)
    func settings(name: String) throws {
        struct AnyValue: Decodable { init(from decoder: any Decoder) {} }
        struct Kind: Decodable { var stage1, unet, model: AnyValue? }
        let path = Self.path(name)
        let kind = try YAMLDocument.read(anyKeysIn: Kind.self, from: path)
        if kind.stage1 != nil {
            let options = try YAMLDocument.read(DistillationOptions.self, from: path)
            for stage in DistillationStage.allCases { try options[stage].validate() }
        } else if kind.unet != nil {
            try YAMLDocument.read(TeacherTrainingConfig.self, from: path).validate()
        } else {
            try YAMLDocument.read(ClipProxyTrainingConfig.self, from: path).validate()
        }
    }

    @Test("all kinds of settings are among the YAML files")
    func files() {
        #expect(Set(Self.names).isSuperset(of: ["clip-proxy.yaml", "distill-sd15-small.yaml", "shapes.yaml"]))
    }

    @Test("an unknown key is refused by name")
    func unknownKey() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            "distill.yaml", YAMLDocument.text(DistillationOptions.shapes) + "stage3: {}\n")
        #expect {
            try YAMLDocument.read(DistillationOptions.self, from: file)
        } throws: { error in
            "\(error)".contains("stage3: unknown key")
        }
    }
}
