// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions of Stable Diffusion 1.5's UNet and of the shapes UNet: forward, and backward to data and to weights.

import BitsFusion

/// The shape of one 3x3 convolution with stride 1 and padding 1.
struct ConvolutionShape {
    let batch, inputs, height, width, outputs: Int

    init(_ batch: Int, _ inputs: Int, _ height: Int, _ width: Int, _ outputs: Int) {
        (self.batch, self.inputs, self.height, self.width, self.outputs) =
            (batch, inputs, height, width, outputs)
    }

    var input: [Int] { [batch, inputs, height, width] }
    var output: [Int] { [batch, outputs, height, width] }
    var weight: [Int] { [outputs, inputs, 3, 3] }
    var label: String { "\(batch)x\(inputs)x\(height)x\(width)->\(outputs)" }

    /// Operations of a direct convolution; each backward product has the same number.
    var operations: Double {
        2 * Double(batch * outputs * height * width) * Double(9 * inputs)
    }
}

enum ConvolutionCases {
    /// The convolution with a target.
    private static let first = ConvolutionShape(1, 320, 64, 64, 320)

    private static let shapes = [
        first,
        ConvolutionShape(1, 640, 32, 32, 640),
        ConvolutionShape(1, 1280, 16, 16, 1280),
        ConvolutionShape(1, 1280, 8, 8, 1280),
        ConvolutionShape(32, 48, 16, 16, 48),
        ConvolutionShape(32, 96, 8, 8, 96),
        ConvolutionShape(32, 24, 32, 32, 24),
    ]

    static var all: [BenchmarkCase] {
        shapes.map(forward)
            + [0, 1, 2, 4, 6].flatMap {
                [trainingForward(shapes[$0]), backwardToData(shapes[$0]), backwardToWeight(shapes[$0])]
            }
    }

    /// The algorithms of a convolution.
    private static var algorithms: [Alternative] {
        [ConvolutionAlgorithm.columns, .winograd(2), .winograd(4)].map { algorithm in
            Alternative(name: algorithm.description) { body in
                try ConvolutionAlgorithm.$forced.withValue(algorithm) { try body() }
            }
        }
    }

    private static func forward(_ shape: ConvolutionShape) -> BenchmarkCase {
        var benchmark = forward(shape, name: "conv3x3 \(shape.label)", group: .kernels)
        benchmark.alternatives = algorithms
        if shape.label == first.label { benchmark.targets = RatioTargets(float32: 0.40, bfloat16: 0.75) }
        return benchmark
    }

    /// A forward pass of a convolution layer without gradients.
    static func forward(_ shape: ConvolutionShape, name: String, group: BenchmarkGroup) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: group, operation: "conv3x3", operations: shape.operations
        ) {
            let layer = try layer(shape, name)
            return layer.forward(RandomInputs(name).normal("x", shape.input)) { layer($0) }
        }
    }

    /// A convolution layer with random parameters; the path is "conv".
    static func layer(_ shape: ConvolutionShape, _ name: String) throws -> Conv2d {
        let random = RandomInputs(name)
        let parameters = TensorParameterProvider([
            "conv.weight": random.weight("weight", shape.weight),
            "conv.bias": random.normal("bias", [shape.outputs], std: 0.1),
        ])
        return try Conv2d(
            ParameterPath(ParameterStore(provider: parameters), path: "conv"), in: shape.inputs, out: shape.outputs,
            kernel: 3, padding: 1)
    }

    /// A forward pass with a trainable weight, whose prepacked form is not cached: the reference for the time of the
    /// weight gradient.
    private static func trainingForward(_ shape: ConvolutionShape) -> BenchmarkCase {
        let name = "conv3x3 in training \(shape.label)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "conv3x3", operations: shape.operations,
            alternatives: algorithms
        ) {
            let random = RandomInputs(name)
            let x = random.normal("x", shape.input)
            let weight = Parameter("conv.weight", random.weight("weight", shape.weight))
            let bias = Parameter("conv.bias", random.normal("bias", [shape.outputs], std: 0.1))
            let slot = ResultSlot()
            let pass = {
                slot.tensor = conv2d(x, weight: weight.tensor(), bias: bias.tensor(), padding: 1)
            }
            return Workload(
                inputs: ["x": x, weight.name: weight.value, bias.name: bias.value], pass: pass
            ) {
                pass()
                return slot.output
            }
        }
    }

    private static func backwardToData(_ shape: ConvolutionShape) -> BenchmarkCase {
        backward(shape, "conv3x3 to data \(shape.label)", "conv3x3_to_data", trainsWeight: false)
    }

    private static func backwardToWeight(_ shape: ConvolutionShape) -> BenchmarkCase {
        backward(shape, "conv3x3 to weight \(shape.label)", "conv3x3_to_weight", trainsWeight: true)
    }

    private static func backward(
        _ shape: ConvolutionShape, _ name: String, _ operation: String, trainsWeight: Bool
    ) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: .kernels, operation: operation, operations: shape.operations,
            tolerances: .gradient, alternatives: algorithms
        ) {
            let random = RandomInputs(name)
            let x = Parameter("x", random.normal("x", shape.input), isTrainable: !trainsWeight)
            let weight = Parameter("weight", random.weight("weight", shape.weight), isTrainable: trainsWeight)
            let gradient = random.normal("gradient", shape.output)
            return .backward(
                inputs: ["x": x.value, "weight": weight.value, "gradient": gradient], gradient: gradient,
                of: trainsWeight ? weight : x
            ) { conv2d(x.tensor(), weight: weight.tensor(), bias: nil, padding: 1) }
        }
    }
}

extension Workload {
    /// Measures the backward pass only; its forward pass runs before each measurement.
    static func backward(
        inputs: [String: Tensor], gradient: Tensor, of parameter: Parameter, forward: @escaping () -> Tensor
    ) -> Workload {
        let slot = ResultSlot()
        let prepare = {
            parameter.gradient = nil
            slot.tensor = forward()
        }
        let pass = {
            slot.tensor?.backward(gradient)
            slot.tensor = nil
        }
        return Workload(inputs: inputs, prepare: prepare, pass: pass) {
            prepare()
            pass()
            return parameter.gradient.map { ["output": $0] } ?? [:]
        }
    }
}

extension WeightedLayer {
    /// Measures `compute` on `x`; the inputs for PyTorch are `x` and the dense parameters of the layer.
    func forward(_ x: Tensor, compute: @escaping (Tensor) -> Tensor) -> Workload {
        var inputs = ["x": x, path + ".weight": weight.tensor().detached()]
        inputs[path + ".bias"] = bias?.value
        return .forward(inputs: inputs) { compute(x) }
    }
}
