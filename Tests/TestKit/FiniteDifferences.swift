// SPDX-License-Identifier: Apache-2.0
// Gradient checks: backward against central differences of a randomly projected loss, summed in double.

import Tensors
import Testing

/// Checks the gradient of `operation` with respect to every one of `inputs`.
///
/// The loss is Σ r · y with a fixed normal r of the shape of y, summed in Double. Each derivative is
///
///     (8 (L(x + h) − L(x − h)) − (L(x + 2h) − L(x − 2h))) / 12h        h = step
///
/// and compared with an error relative to the gradient's root mean square, so that the test means the same
/// for any output size. At most `sampled` elements of each input are probed, evenly spread.
///
/// - Parameters:
///   - inputs: values at which to differentiate; keep them further than 2h from kinks.
///   - step: h, a power of two so that x ± h is nearly exact.
///   - sampled: probes of each input.
///   - tolerance: absolute part in units of the gradient's root mean square.
///   - label: what is differentiated, for the message.
///   - sourceLocation: the line that a failure points to.
///   - operation: the function, differentiable, from as many tensors as `inputs`.
public func checkGradients(
    _ inputs: [Tensor], step: Float = 0x1p-5, sampled: Int = 24, tolerance: Tolerance = .finiteDifference,
    _ label: String = "", sourceLocation: SourceLocation = #_sourceLocation,
    _ operation: ([Tensor]) -> Tensor
) {
    let parameters = inputs.enumerated().map {
        Parameter("input\($0.offset)", Tensor($0.element.values, shape: $0.element.shape))
    }
    let output = operation(parameters.map { $0.tensor() })
    #expect(output.requiresGradient, "\(label) keeps a tape", sourceLocation: sourceLocation)
    var random = Philox(seed: 0x9ad, stream: 77)
    let projection = random.normal(output.shape)
    let weights = projection.values.map(Double.init)
    output.backward(projection)

    func loss(_ inputs: [Tensor]) -> Double {
        withoutGradients { zip(operation(inputs).values, weights).reduce(0) { $0 + Double($1.0) * $1.1 } }
    }

    for (index, parameter) in parameters.enumerated() {
        let name = "\(label) d/d input \(index) \(parameter.shape)"
        guard let gradient = parameter.gradient else {
            Issue.record("\(name): no gradient", sourceLocation: sourceLocation)
            continue
        }
        guard gradient.shape == parameter.shape else {
            Issue.record("\(name): gradient has shape \(gradient.shape)", sourceLocation: sourceLocation)
            continue
        }
        let count = parameter.value.count
        let probes =
            count <= sampled ? Array(0..<count) : (0..<sampled).map { $0 * (count - 1) / (sampled - 1) }
        let analytic = gradient.values
        var numeric: [Double] = []
        for probe in probes {
            func shifted(_ distance: Float) -> Double {
                var values = inputs
                var changed = inputs[index].values
                changed[probe] += distance
                values[index] = Tensor(changed, shape: inputs[index].shape)
                return loss(values)
            }
            let near = shifted(step) - shifted(-step), far = shifted(2 * step) - shifted(-2 * step)
            numeric.append((8 * near - far) / (12 * Double(step)))
        }
        let size = (analytic.reduce(0) { $0 + Double($1) * Double($1) } / Double(max(count, 1))).squareRoot()
        let scaled = Tolerance(
            absolute: tolerance.absolute * max(size, 1e-3), relative: tolerance.relative)
        expectClose(probes.map { analytic[$0] }, numeric, scaled, name, sourceLocation: sourceLocation)
    }
}
