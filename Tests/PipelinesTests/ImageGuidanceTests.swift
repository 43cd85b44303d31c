// SPDX-License-Identifier: Apache-2.0
// Guidance towards text and image for models with added conditions, as SDXL's InstructPix2Pix model has them, against
// three passes of the model by themselves.

import Foundation
import Layers
import Networks
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct ImageGuidanceTests {
    @Test("the three passes have their prompt, its added conditions and the image or zeros", arguments: [0, 0.7])
    func addedConditions(rescale: Float) throws {
        let plain = String(decoding: try TinyModel.addedConfig().json, as: UTF8.self)
        let config = try UNet2DConditionConfig(
            json: Data(plain.replacing("\"in_channels\": 4", with: "\"in_channels\": 8").utf8))
        let denoiser = try TinyModel.pipeline(config).denoiser
        var random = Philox(seed: 9, stream: 0)
        func conditions() -> AddedConditions {
            AddedConditions(
                textEmbeds: random.normal([1, TinyModel.textEmbedsDim]), timeIDs: random.uniform([1, 6]) * 64)
        }
        let embeddings = PromptEmbeddings(
            conditional: random.normal([1, 5, TinyModel.crossAttentionDim]),
            unconditional: random.normal([1, 5, TinyModel.crossAttentionDim]), added: (conditions(), conditions()))
        let sample = random.normal([1, 4, 8, 8]), image = random.normal([1, 4, 8, 8])
        let predictor = GuidedPredictor(
            denoiser, embeddings, guidanceScale: 5, guidanceRescale: rescale, condition: image, imageGuidanceScale: 1.5)
        func pass(_ text: Tensor, _ added: AddedConditions?, _ image: Tensor) -> Tensor {
            denoiser(
                .concatenated([sample, image], axis: 1), timesteps: Tensor([300], shape: [1]),
                encoderHiddenStates: text, addedConditions: added)
        }
        let empty = pass(embeddings.unconditional, embeddings.added?.unconditional, .zeros(image.shape))
        let pictured = pass(embeddings.unconditional, embeddings.added?.unconditional, image)
        let full = pass(embeddings.conditional, embeddings.added?.conditional, image)
        var expected = empty + 5 * (full - pictured) + 1.5 * (pictured - empty)
        if rescale > 0 { expected = guidanceRescaled(expected, conditional: full, rescale: rescale) }
        expectClose(predictor.predict(sample, timestep: 300), expected, .output, "guided")
    }
}
