// SPDX-License-Identifier: Apache-2.0
// Comparison with reference numbers: the largest difference, relative to the largest reference value, as the
// project's contract states it for outputs and gradients.

import Foundation
import Tensors
import Testing

/// The contract's limits, relative to the largest magnitude of the reference.
enum Tolerance {
    /// Outputs and trajectories against diffusers in fp32.
    static let output = 1e-4
    /// Parameter gradients against diffusers in fp32.
    static let gradient = 1e-3
    /// Rounding errors of a gradient that should be 0, relative to the model's largest gradient.
    static let gradientNoise = 1e-6
    /// Two ways through the same fp32 arithmetic.
    static let sameArithmetic = 1e-6
}

/// Expects max |values - reference| <= tolerance · max |reference|; shows the worst place and the first pairs.
func expectClose(
    _ values: [Float], _ reference: [Double], _ tolerance: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard values.count == reference.count else {
        Issue.record(
            "\(what): \(values.count) values, reference has \(reference.count)",
            sourceLocation: sourceLocation)
        return
    }
    let scale = reference.map(abs).max() ?? 0
    let errors = zip(values, reference).map { value, reference in
        value.isFinite ? abs(Double(value) - reference) : .infinity
    }
    guard let worst = errors.indices.max(by: { errors[$0] < errors[$1] }), errors[worst] > tolerance * scale
    else {
        return
    }
    let pairs = zip(values, reference).prefix(5).map { "\($0) / \($1)" }.joined(separator: ", ")
    Issue.record(
        "\(what): error \(errors[worst]) at \(worst) (\(values[worst]) / \(reference[worst])), allowed \(tolerance * scale); begins \(pairs)",
        sourceLocation: sourceLocation)
}

/// As above, between two tensors of one shape.
func expectClose(
    _ value: Tensor, _ reference: Tensor, _ tolerance: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(value.shape == reference.shape, "\(what)", sourceLocation: sourceLocation)
    expectClose(
        value.values, reference.values.map(Double.init), tolerance, what, sourceLocation: sourceLocation)
}

/// Expects every parameter's gradient to have the norm, the product with a probe vector, the largest magnitude and
/// the eight entries that `gradient_summary` in Tests/Fixtures/fixture_values.py found.
///
/// Gradients that are 0 in exact arithmetic (keys' biases: softmax does not see a shift) are rounding errors on both
/// sides; they are measured against the model's largest gradient, in float32's precision.
func expectGradients(
    of parameters: [Parameter], _ summaries: [String: [Double]],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(Set(parameters.map(\.name)) == Set(summaries.keys), sourceLocation: sourceLocation)
    let noise = Tolerance.gradientNoise * (summaries.values.map { $0[2] }.max() ?? 0)
    for parameter in parameters {
        guard let gradient = parameter.gradient, let summary = summaries[parameter.name] else {
            Issue.record("\(parameter.name): no gradient or no reference", sourceLocation: sourceLocation)
            continue
        }
        expectGradient(gradient, of: parameter.name, summary, noise: noise, sourceLocation: sourceLocation)
    }
}

private func expectGradient(
    _ gradient: Tensor, of key: String, _ summary: [Double], noise: Double, sourceLocation: SourceLocation
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
    let allowedNorm = Tolerance.gradient * norm + noise * Double(values.count).squareRoot()
    let allowed = Tolerance.gradient * largest + noise
    expect(values.reduce(0) { $0 + $1 * $1 }.squareRoot(), norm, within: allowedNorm, "norm")
    expect(
        zip(values, probe).reduce(0) { $0 + $1.0 * Double($1.1) }, product, within: allowedNorm,
        "product with the probe")
    expect(values.map(abs).max() ?? 0, largest, within: allowed, "largest magnitude")
    for (index, reference) in summary.dropFirst(3).enumerated() {
        let place = index * values.count / 8
        expect(values[place], reference, within: allowed, "entry \(place)")
    }
}
