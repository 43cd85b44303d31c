// SPDX-License-Identifier: Apache-2.0
// Parameter gradients against summaries of PyTorch's.

import Foundation
import Tensors
import Testing

/// Expects every parameter's gradient to have the norm, the product with a probe vector, the largest magnitude and
/// the entries that `gradient_summary` in Tests/Fixtures/fixture_values.py found.
///
/// Gradients that are 0 in exact arithmetic (keys' biases: softmax does not see a shift) are rounding errors on both
/// sides; they are measured against the model's largest gradient, in float32's precision.
public func expectGradients(
    of parameters: [Parameter], _ summaries: [String: [Double]], _ tolerance: Tolerance = .gradient,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(Set(parameters.map(\.name)) == Set(summaries.keys), sourceLocation: sourceLocation)
    let noise = Tolerance.gradientNoise.relativeToLargest * (summaries.values.map { $0[2] }.max() ?? 0)
    for parameter in parameters {
        guard let gradient = parameter.gradient, let summary = summaries[parameter.name] else {
            Issue.record("\(parameter.name): no gradient or no reference", sourceLocation: sourceLocation)
            continue
        }
        expectGradient(
            gradient, of: parameter.name, summary, relative: tolerance.relativeToLargest, noise: noise,
            sourceLocation: sourceLocation)
    }
}

private func expectGradient(
    _ gradient: Tensor, of key: String, _ summary: [Double], relative: Double, noise: Double,
    sourceLocation: SourceLocation
) {
    let values = gradient.values.map(Double.init)
    let probe = fixtureUniform("probe." + key, [values.count])
    let (norm, product, largest) = (summary[0], summary[1], summary[2])
    func expect(_ value: Double, _ reference: Double, within allowed: Double, _ what: String) {
        #expect(
            abs(value - reference) <= allowed, "\(key): \(what) \(value), reference \(reference)",
            sourceLocation: sourceLocation)
    }
    // The probe's entries have a root mean square below 1, so an error of the allowed size stays below this, too.
    let allowedNorm = relative * norm + noise * Double(values.count).squareRoot()
    let allowed = relative * largest + noise
    expect(values.reduce(0) { $0 + $1 * $1 }.squareRoot(), norm, within: allowedNorm, "norm")
    expect(
        zip(values, probe).reduce(0) { $0 + $1.0 * Double($1.1) }, product, within: allowedNorm,
        "product with the probe")
    expect(values.map(abs).max() ?? 0, largest, within: allowed, "largest magnitude")
    let entries = summary.dropFirst(3)
    for (index, reference) in entries.enumerated() {
        let place = index * values.count / entries.count
        expect(values[place], reference, within: allowed, "entry \(place)")
    }
}
