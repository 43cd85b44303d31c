// SPDX-License-Identifier: Apache-2.0
// A tiny CLIP-proxy and sweeps over the tiny model that take milliseconds.

import Evaluation
import Layers
import Pipelines
import Recipes
import ShapesWorld
import TestKit

@testable import Analyzer

/// A random scorer of 8x8 images.
func tinyClip() throws -> ClipProxy {
    let config = try ClipProxyConfig(
        textConfig: TinyModel.textConfig(), visionChannels: [8, 8], visionStrides: [2, 2], normNumGroups: 4,
        projectionDim: 8)
    return try ClipProxy(
        config: config, parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 5))))
}

/// A sweep over a tiny model with few and cheap images.
func tinySweep(
    _ pipeline: DiffusionPipeline, clip: ClipProxy? = nil, bits: [Int] = [1, 2, 3], layers: String? = nil,
    steps: Int = 2, prompts: Int = 3, measures: Set<MeasurementMode> = [.images], qatSteps: Int = 0,
    shard: SensitivityShard? = nil, memoryLimit: Int = 1 << 30, commandLine: [String] = ["test"]
) throws -> SensitivitySweep {
    let model = FileReference(path: "tiny.h5", sha256: String(repeating: "a", count: 64))
    return try SensitivitySweep(
        pipeline: pipeline, model: model,
        calibration: CalibrationSet(promptCount: prompts, pipeline: pipeline), clip: clip,
        options: SensitivityOptions(
            bits: bits.map { BitWidth($0) }, measures: measures,
            generation: GenerationOptions(sampler: .ddim, steps: steps, guidanceScale: 1.5),
            timestepsPerImage: 2, tuning: LayerTuningOptions(steps: qatSteps), layerPattern: layers,
            shard: shard, memoryLimit: memoryLimit),
        manifest: RunManifest(toolVersion: "0", commandLine: commandLine, seed: 0, inputs: [model]))
}
