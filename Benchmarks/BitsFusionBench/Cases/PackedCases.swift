// SPDX-License-Identifier: Apache-2.0
// Packed models: low-bit weights times activations rounded to int8, held against PyTorch on the same weights as floats.

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
            forward("sd15 unet 64x64", size: 64, RatioTargets(float32: 0.27, bfloat16: 0.50)),
            forward("sd15 unet 32x32", size: 32, RatioTargets()),
        ]
    }

    private static func convolution(_ shape: ConvolutionShape) -> BenchmarkCase {
        let name = "packed conv3x3 \(shape.label), ternary"
        return BenchmarkCase(
            name: name, group: .packed, operation: "conv3x3", operations: shape.operations,
            tolerances: .rounded
        ) {
            let random = RandomInputs(name)
            let x = random.normal("x", shape.input)
            let parameters = [
                "conv.weight": random.weight("weight", shape.weight),
                "conv.bias": random.normal("bias", [shape.outputs], std: 0.1),
            ]
            let layer = try Conv2d(
                ParameterPath(ParameterStore(provider: TensorParameterProvider(parameters)), path: "conv"),
                in: shape.inputs, out: shape.outputs, kernel: 3, padding: Padding(1))
            return try workload(layer, x, bias: parameters["conv.bias"]) { layer(x) }
        }
    }

    private static func linear(
        rows: Int, inputs: Int, outputs: Int, _ targets: RatioTargets = RatioTargets()
    ) -> BenchmarkCase {
        let name = "packed linear \(rows)x\(inputs)->\(outputs), ternary"
        return BenchmarkCase(
            name: name, group: .packed, operation: "linear",
            operations: 2 * Double(rows) * Double(inputs) * Double(outputs), tolerances: .rounded,
            targets: targets
        ) {
            let random = RandomInputs(name)
            let x = random.normal("x", [rows, inputs])
            let parameters = [
                "linear.weight": random.weight("weight", [outputs, inputs]),
                "linear.bias": random.normal("bias", [outputs], std: 0.1),
            ]
            let layer = try Linear(
                ParameterPath(ParameterStore(provider: TensorParameterProvider(parameters)), path: "linear"),
                in: inputs, out: outputs)
            return try workload(layer, x, bias: parameters["linear.bias"]) { layer(x) }
        }
    }

    /// A layer with packed ternary codes; the twin has them as floats.
    private static func workload(
        _ layer: any WeightedLayer, _ x: Tensor, bias: Tensor?, forward: @escaping () -> Tensor
    ) throws -> Workload {
        try layer.pack(ternary)
        var inputs = ["x": x, layer.path + ".weight": layer.weight.tensor()]
        inputs[layer.path + ".bias"] = bias
        let slot = ResultSlot()
        let pass = { withoutGradients { slot.tensor = forward() } }
        return Workload(inputs: inputs, pass: pass) {
            pass()
            return slot.output
        }
    }

    /// A noise prediction of a whole UNet, packed by the paper's recipe. The time layers stay, at 32 bits: PyTorch's model
    /// has them, too.
    private static func forward(_ name: String, size: Int, _ targets: RatioTargets) -> BenchmarkCase {
        let unet = BenchmarkUNet.stableDiffusion(size: size)
        return BenchmarkCase(
            name: "packed forward " + name, group: .packed, operation: "unet_forward", text: unet.twinText,
            operations: unet.operations, tolerances: .roundedNetwork, targets: targets
        ) {
            let model = try unet.model()
            model.store.setTrainable(false)
            let recipe = try BitRecipe.load(contentsOf: URL(fileURLWithPath: recipeFile))
            // A recipe of other layers is an error, not a benchmark of floats.
            try recipe.validate(against: model.config.inventory())
            for layer in model.store.weightedLayers {
                if let width = recipe.layers[LayerID(layer.path)] { try layer.pack(width) }
            }
            let inputs = unet.inputs(model.config)
            let slot = ResultSlot()
            let pass = {
                withoutGradients {
                    slot.tensor = model(
                        inputs.sample, timesteps: inputs.timesteps, encoderHiddenStates: inputs.states)
                }
            }
            let shared = unet.shared(model)
            return Workload(
                inputs: inputs.named,
                shared: SharedTensors(name: "packed-" + shared.name, tensors: shared.tensors), pass: pass
            ) {
                pass()
                return slot.output
            }
        }
    }
}

extension WeightedLayer {
    /// Puts packed codes in the place of the layer's weight.
    fileprivate func pack(_ width: BitWidth) throws {
        let dense = Parameter(path + ".weight", weight.tensor(), isTrainable: false)
        let student = FakeQuantizedWeight(
            latent: dense, width: width, initialization: .alternating(rounds: 3))
        let codes = try packCodes(student.codes, levels: student.grid.levels, encoding: .radix)
        weight = try PackedWeight(
            shape: student.shape, width: width, encoding: .radix, codes: codes, scales: student.scales)
    }
}
