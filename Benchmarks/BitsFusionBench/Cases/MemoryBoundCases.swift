// SPDX-License-Identifier: Apache-2.0
// Memory-bound operations of a training step. Rates are bytes per second; every byte is counted once.

import BitsFusion

enum MemoryBoundCases {
    static var all: [BenchmarkCase] {
        [
            groupNormSiLU(1, 320, 64, 64), groupNormSiLU(32, 48, 16, 16), geglu(tokens: 4096, channels: 1280),
            fakeQuantization, fakeQuantizationBackward, adamW,
        ]
    }

    private static func groupNormSiLU(_ batch: Int, _ channels: Int, _ height: Int, _ width: Int)
        -> BenchmarkCase
    {
        let shape = [batch, channels, height, width]
        let groups = channels == 48 ? 8 : 32
        let name = "groupnorm+silu \(batch)x\(channels)x\(height)x\(width)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "groupnorm_silu", options: ["groups": groups],
            bytes: Double(2 * 4 * shape.reduce(1, *))
        ) {
            let random = RandomInputs(name)
            let x = random.normal("x", shape)
            let weight = random.normal("weight", [channels], std: 0.1) + 1
            let bias = random.normal("bias", [channels], std: 0.1)
            return .forward(inputs: ["x": x, "weight": weight, "bias": bias]) {
                groupNorm(x, groups: groups, weight: weight, bias: bias, epsilon: 1e-5, silu: true)
            }
        }
    }

    private static func geglu(tokens: Int, channels: Int) -> BenchmarkCase {
        let name = "geglu \(tokens)x\(2 * channels)->\(channels)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "geglu", bytes: Double(3 * 4 * tokens * channels)
        ) {
            let x = RandomInputs(name).normal("x", [1, tokens, 2 * channels])
            return .forward(inputs: ["x": x]) { x.geglu() }
        }
    }

    private static let quantizedShape = [640, 640, 3, 3]
    /// Ternary: codes -1, 0, 1.
    private static let quantizedBits = BitWidth(1)

    private static func quantized(_ name: String) -> (weight: Tensor, scales: Tensor) {
        let weight = RandomInputs(name).weight("weight", quantizedShape)
        let grid = QuantizationGrid(quantizedBits)
        return (weight, ScaleInitialization.alternating(rounds: 3).scales(of: weight, grid: grid))
    }

    /// PyTorch computes in Float32, in which mixed-precision training stores latent weights and scales.
    private static var fakeQuantization: BenchmarkCase {
        let name = "fake-quantize 640x640x3x3, ternary"
        let count = quantizedShape.reduce(1, *)
        let grid = QuantizationGrid(quantizedBits)
        return BenchmarkCase(
            name: name, group: .kernels, operation: "fake_quantize",
            options: ["maximum_code": grid.maximumCode],
            bytes: Double(2 * 4 * count), twins: [.float32]
        ) {
            let (weight, scales) = quantized(name)
            return .forward(inputs: ["weight": weight, "scales": scales]) {
                fakeQuantize(weight, scales: scales, grid: grid)
            }
        }
    }

    private static var fakeQuantizationBackward: BenchmarkCase {
        let name = "fake-quantize backward 640x640x3x3, ternary"
        let count = quantizedShape.reduce(1, *)
        let grid = QuantizationGrid(quantizedBits)
        return BenchmarkCase(
            name: name, group: .kernels, operation: "fake_quantize_backward",
            options: ["maximum_code": grid.maximumCode], bytes: Double(3 * 4 * count), twins: [.float32],
            tolerances: .gradient
        ) {
            let (weight, scales) = quantized(name)
            let parameters = [Parameter("weight", weight), Parameter("scales", scales)]
            let gradient = RandomInputs(name).normal("gradient", quantizedShape)
            let slot = ResultSlot()
            let prepare = {
                for parameter in parameters { parameter.gradient = nil }
                slot.tensor = fakeQuantize(
                    parameters[0].tensor(), scales: parameters[1].tensor(), grid: grid)
            }
            let pass = {
                slot.tensor?.backward(gradient)
                slot.tensor = nil
            }
            return Workload(
                inputs: ["weight": weight, "scales": scales, "gradient": gradient], prepare: prepare,
                pass: pass
            ) {
                prepare()
                pass()
                let found = parameters.compactMap { parameter in
                    parameter.gradient.map { (parameter.name, $0) }
                }
                return Dictionary(uniqueKeysWithValues: found)
            }
        }
    }

    /// Ten million parameters with the shapes of a UNet: convolutions, linear layers, biases.
    private static let optimizedShapes =
        [[Int]](repeating: [320, 320, 3, 3], count: 10) + [[Int]](repeating: [320, 320], count: 8)
        + [[Int]](repeating: [320], count: 64)

    /// One update: reads values, gradients and two moments, and writes values and moments. PyTorch computes in Float32,
    /// in which mixed-precision training stores weights and moments.
    private static var adamW: BenchmarkCase {
        let count = optimizedShapes.reduce(0) { $0 + $1.reduce(1, *) }
        let name = "adamw \(optimizedShapes.count) tensors, 10 M parameters"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "adamw", bytes: Double(7 * 4 * count), twins: [.float32],
            tolerances: .gradient
        ) {
            let random = RandomInputs(name)
            let parameters = optimizedShapes.enumerated().map { index, shape in
                Parameter("weight.\(index)", random.normal("weight.\(index)", shape))
            }
            let gradients = optimizedShapes.enumerated().map { index, shape in
                random.normal("gradient.\(index)", shape)
            }
            let optimizer = AdamW(
                [ParameterGroup(parameters, learningRate: 0.1, weightDecay: 0.01)], beta1: 0.9, beta2: 0.999)
            let prepare = {
                for (parameter, gradient) in zip(parameters, gradients) { parameter.gradient = gradient }
            }
            let pass = { _ = optimizer.update(factor: 1, maximumNorm: nil) }
            var inputs: [String: Tensor] = [:]
            for (index, parameter) in parameters.enumerated() {
                inputs["weight.\(index)"] = parameter.value
                inputs["gradient.\(index)"] = gradients[index]
            }
            return Workload(inputs: inputs, prepare: prepare, pass: pass) {
                prepare()
                pass()
                return Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.value) })
            }
        }
    }
}
