// SPDX-License-Identifier: Apache-2.0
// Packed models: low-bit weights with dynamic int8 activation quantization, compared with PyTorch on the same weights
// as floats.

import BitsFusion
import Foundation

enum PackedCases {
    /// Ternary: codes -1, 0, 1.
    private static let ternary = BitWidth(1)
    private static let recipeFile = "Configs/recipes/sd15-bitsfusion-1.99.json"

    static var all: [BenchmarkCase] {
        [
            convolution(ConvolutionShape(1, 320, 64, 64, 320)),
            convolution(ConvolutionShape(1, 640, 32, 32, 640)),
            convolution(ConvolutionShape(1, 1280, 16, 16, 1280)),
            convolution(ConvolutionShape(1, 1280, 8, 8, 1280)),
            linear(rows: 4096, inputs: 320, outputs: 320), linear(rows: 1024, inputs: 640, outputs: 2560),
            linear(rows: 77, inputs: 768, outputs: 1280),
            linear(rows: 1, inputs: 1280, outputs: 1280, RatioTargets(bfloat16: 0.2)),
            ProductCases.integerAttention(queries: 4096, keys: 4096),
            forward("sd15 unet 64x64", size: 64, RatioTargets(float32: 0.27, bfloat16: 0.50)),
            forward("sd15 unet 64x64, LoRA of rank 16", size: 64, loraRank: 16, RatioTargets()),
            forward("sd15 unet 32x32", size: 32, RatioTargets()),
        ]
    }

    private static func convolution(_ shape: ConvolutionShape) -> BenchmarkCase {
        let name = "packed conv3x3 \(shape.label), ternary"
        return BenchmarkCase(
            name: name, group: .packed, operation: "conv3x3", operations: shape.operations,
            tolerances: .quantized
        ) {
            let layer = try ConvolutionCases.layer(shape, name)
            try layer.pack(ternary)
            return layer.forward(RandomInputs(name).normal("x", shape.input)) { layer($0) }
        }
    }

    private static func linear(
        rows: Int, inputs: Int, outputs: Int, _ targets: RatioTargets = RatioTargets()
    ) -> BenchmarkCase {
        let name = "packed linear \(rows)x\(inputs)->\(outputs), ternary"
        return BenchmarkCase(
            name: name, group: .packed, operation: "linear",
            operations: 2 * Double(rows) * Double(inputs) * Double(outputs), tolerances: .quantized,
            targets: targets
        ) {
            let layer = try ProductCases.linear(inputs: inputs, outputs: outputs, name)
            try layer.pack(ternary)
            return layer.forward(RandomInputs(name).normal("x", [rows, inputs])) { layer($0) }
        }
    }

    /// A noise prediction of a whole UNet, packed by the paper's recipe. Time layers are not cached and stay at 32
    /// bits, as in PyTorch's model.
    ///
    /// With `loraRank`, the layers of all transformers have a LoRA beside their weights. Its output is zero, so that
    /// the prediction is that of PyTorch, which merges LoRAs into its weights before the run.
    private static func forward(
        _ name: String, size: Int, loraRank: Int? = nil, _ targets: RatioTargets
    ) -> BenchmarkCase {
        let unet = BenchmarkUNet.stableDiffusion(size: size)
        return BenchmarkCase(
            name: "packed forward " + name, group: .packed, operation: "unet_forward", text: unet.twinText,
            operations: unet.operations, tolerances: .quantizedNetwork, targets: targets
        ) {
            let model = try unet.model()
            let recipe = try BitRecipe.load(contentsOf: URL(fileURLWithPath: recipeFile))
            // A recipe for other layers is an error.
            try recipe.validate(against: model.config.inventory())
            for layer in model.store.weightedLayers {
                if let bits = recipe.layers[LayerID(layer.path)] { try layer.pack(bits) }
                if let loraRank, layer.path.contains(".attentions."), let layer = layer as? any AdaptableLayer {
                    let shape = layer.weight.shape
                    layer.branch = LowRankBranch(
                        down: RandomInputs(name).normal(layer.path, [loraRank] + shape[1...]),
                        up: .zeros([shape[0], loraRank]))
                }
            }
            return unet.forward(model, parametersName: "packed-")
        }
    }
}

extension WeightedLayer {
    /// Replaces the weight of the layer by packed codes.
    func pack(_ bits: BitWidth) throws {
        let dense = Parameter(path + ".weight", weight.tensor(), isTrainable: false)
        let student = FakeQuantizedWeight(
            latent: dense, bits: bits, initialization: .alternating(rounds: 3))
        let codes = try packCodes(student.codes, levels: student.grid.levels, encoding: .radix)
        weight = try PackedWeight(
            shape: student.shape, grid: QuantizationGrid(bits), encoding: .radix, codes: codes, scales: student.scales)
    }
}
