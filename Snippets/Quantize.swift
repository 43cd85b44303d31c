// SPDX-License-Identifier: Apache-2.0
// Quantize the included model to 1.99 bits per weight, sample images, and write a packed file.
//
// Run it in the folder of a sensitivity table of the model (`bitsfusion analyze shapes`): `swift run Quantize`.

// snippet.show
import BitsFusion
import Foundation
import ShapesWorld

// Register the tokenizer of the shapes world and open its trained model.
ShapesWorldRegistration.register()
let model = try DiffusionPipeline(contentsOf: ShippedModels.teacher())

// Choose the bits of each layer for a budget of 1.99 bits per weight, and quantize the weights.
let table = try SensitivityTable.load(contentsOf: URL(filePath: "sensitivity.json"))
let allocation = try allocateBits(table, budget: BitBudget(averageBits: 1.99))
try model.denoiser.quantize(recipe: allocation.recipe, initialization: .paper)

// Sample two images: [2, 3, 32, 32], values in -1...1.
let prompts = try PromptEmbeddings(
    prompts: ["a red circle left of a blue square", "three crosses"], pipeline: model)
let images = try model.generate(prompts, seeds: [1, 2], options: GenerationOptions(sampler: .ddim, steps: 20))
print(images.shape)

// Write the packed file with the time features of the 20 steps.
let manifest = RunManifest(toolVersion: "0.2.0", commandLine: ["quantize"], seed: nil, inputs: [])
let timesteps = try model.samplerTimesteps([.ddim], steps: 20)
try model.writePacked(
    to: "packed.h5", manifest: manifest, options: PackingOptions(cachedTimesteps: timesteps))
// snippet.end
