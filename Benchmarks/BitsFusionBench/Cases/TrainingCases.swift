// SPDX-License-Identifier: Apache-2.0
// Training steps of the shapes UNet with the mean squared error of its noise prediction, and the growth of the cost
// with the batch and with the number of pixels.

import BitsFusion

enum TrainingCases {
    static var all: [BenchmarkCase] {
        [8, 16, 32, 64].map(step) + [16, 32, 64, 128].map(convolution)
    }

    /// The optimizer; the PyTorch script has the same constants.
    private static func optimizer(_ parameters: [Parameter]) -> AdamW {
        AdamW([ParameterGroup(parameters, learningRate: 1e-4, weightDecay: 0.01)], beta1: 0.9, beta2: 0.999)
    }

    /// Forward, mean squared error, backward, AdamW.
    private static func step(batch: Int) -> BenchmarkCase {
        let unet = BenchmarkUNet.shapes(batch: batch)
        return BenchmarkCase(
            name: "train shapes unet, batch \(batch)", group: .train, operation: "training_step",
            text: unet.twinText, operations: unet.operations.map { 3 * $0 }, tolerances: .training,
            targets: batch == 32 ? RatioTargets(float32: 0.45, bfloat16: 0.80) : RatioTargets(),
            curve: CurvePoint(curve: "training step of the shapes UNet", unit: "samples", count: batch)
        ) {
            let model = try unet.model()
            let inputs = unet.inputs(model.config)
            let target = RandomInputs("target \(batch)").normal(
                "target", [batch, model.config.outChannels, unet.size, unet.size])
            let optimizer = optimizer(model.store.parameters)
            let loss = {
                meanSquaredError(
                    model(
                        inputs.sample, timesteps: inputs.timesteps, encoderHiddenStates: inputs.states),
                    target)
            }
            var named = inputs.named
            named["target"] = target
            let pass = {
                loss().backward()
                _ = optimizer.update(factor: 1, maximumNorm: nil)
            }
            return Workload(inputs: named, shared: unet.shared(model), pass: pass) {
                let first = loss()
                first.backward()
                var results = gradients(of: model.store.parameters)
                results["loss"] = first.detached()
                // The loss after the update compares the update.
                _ = optimizer.update(factor: 1, maximumNorm: nil)
                results["next_loss"] = withoutGradients(loss)
                return results
            }
        }
    }

    /// The gradients of a backward pass as `gradient.<name>`.
    static func gradients(of parameters: [Parameter]) -> [String: Tensor] {
        let found = parameters.compactMap { parameter in
            parameter.gradient.map { ("gradient." + parameter.name, $0) }
        }
        return Dictionary(uniqueKeysWithValues: found)
    }

    /// One convolution at a given size, for a curve.
    private static func convolution(size: Int) -> BenchmarkCase {
        let shape = ConvolutionShape(1, 320, size, size, 320)
        var benchmark = ConvolutionCases.forward(
            shape, name: "curve conv3x3 \(shape.label)", group: .train)
        benchmark.curve = CurvePoint(curve: "convolution 320->320", unit: "pixels", count: size * size)
        return benchmark
    }
}
