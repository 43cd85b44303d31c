// SPDX-License-Identifier: Apache-2.0
// Random models that sample images in milliseconds, and files to work with.

import Evaluation
import Foundation
import Layers
import Networks
import Pipelines
import Recipes
import ShapesWorld
import TestKit

@testable import Analyzer

/// A random text-to-image model of 8x8 images.
func tinyPipeline(seed: UInt64 = 1, channels: Int = 3, hasText: Bool = true) throws -> DiffusionPipeline {
    let json = """
        {"sample_size": 8, "in_channels": \(channels), "out_channels": \(channels), "layers_per_block": 1,
         "block_out_channels": [8, 16], "norm_num_groups": 4, "cross_attention_dim": 8, "attention_head_dim": 2,
         "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
         "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}
        """
    let unet = try UNet2DConditionModel(
        config: UNet2DConditionConfig(json: Data(json.utf8)),
        parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: seed))))
    let encoder = try CLIPTextModel(
        config: TinyModel.textConfig(hiddenSize: 8),
        parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: seed + 1))))
    ShapesWorldRegistration.register()
    return try DiffusionPipeline(
        unet: unet, textEncoder: hasText ? encoder : nil, tokenizerName: hasText ? ShapesTokenizer.name : nil,
        schedulerJSON: nil)
}

/// A random scorer of 8x8 images.
func tinyClip() throws -> ClipProxy {
    let text = try TinyModel.textConfig(hiddenSize: 8)
    let config = try ClipProxyConfig(
        textConfig: text, visionChannels: [8, 8], visionStrides: [2, 2], normNumGroups: 4, projectionDim: 8)
    return try ClipProxy(
        config: config, parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 5))))
}

/// A sweep over a tiny model with few and cheap images.
func tinySweep(
    _ pipeline: DiffusionPipeline, clip: ClipProxy? = nil, widths: [Int] = [1, 2, 3], layers: String? = nil,
    steps: Int = 2, prompts: Int = 3, measures: Set<MeasurementMode> = [.images], qatSteps: Int = 0,
    shard: SensitivityShard? = nil, memoryLimit: Int = 1 << 30, commandLine: [String] = ["test"]
) throws -> SensitivitySweep {
    let model = FileReference(path: "tiny.h5", sha256: String(repeating: "a", count: 64))
    return try SensitivitySweep(
        pipeline: pipeline, model: model,
        subjects: CalibrationSet(promptCount: prompts, pipeline: pipeline), clip: clip,
        options: SensitivityOptions(
            widths: widths.map { BitWidth($0) }, measures: measures,
            generation: GenerationOptions(sampler: .ddim, steps: steps, guidanceScale: 1.5),
            timestepsPerImage: 2, tuning: LayerTuningOptions(steps: qatSteps), layerPattern: layers,
            shard: shard, memoryLimit: memoryLimit),
        manifest: RunManifest(toolVersion: "0", commandLine: commandLine, seed: 0, inputs: [model]))
}

/// Gives `body` a folder of its own.
func withFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "analyzer-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder)
}
