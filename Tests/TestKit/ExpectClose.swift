// SPDX-License-Identifier: Apache-2.0
// The one comparison of floating-point results: element by element, within a `Tolerance`.

import Tensors
import Testing

/// Expects every element of `a` within `tolerance` of `reference`; NaN and infinity match only themselves.
///
/// A failure reports the shape, how many elements differ, the worst one and the first five pairs.
///
/// - Parameters:
///   - a: the result under test, the shape of `reference`.
///   - reference: what is right.
///   - tolerance: absolute and relative part, best a named one.
///   - label: what is compared, for the message.
///   - sourceLocation: the line that a failure points to.
public func expectClose(
    _ a: Tensor, _ reference: Tensor, _ tolerance: Tolerance, _ label: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard a.shape == reference.shape else {
        Issue.record(
            "\(label) shape \(a.shape), reference \(reference.shape)", sourceLocation: sourceLocation)
        return
    }
    expectClose(
        a.values, reference.values.map(Double.init), tolerance, "\(label) \(a.shape)",
        sourceLocation: sourceLocation)
}

/// The same with the two parts of the tolerance spelled out.
public func expectClose(
    _ a: Tensor, _ reference: Tensor, atol: Double, rtol: Double, _ label: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectClose(
        a, reference, Tolerance(absolute: atol, relative: rtol), label, sourceLocation: sourceLocation)
}

/// The same for plain arrays.
public func expectClose(
    _ a: [Float], _ reference: [Float], _ tolerance: Tolerance, _ label: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectClose(a, reference.map(Double.init), tolerance, label, sourceLocation: sourceLocation)
}

/// The same against a reference in double precision.
public func expectClose<Value: BinaryFloatingPoint>(
    _ a: [Value], _ reference: [Double], _ tolerance: Tolerance, _ label: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard a.count == reference.count else {
        Issue.record(
            "\(label) \(a.count) elements, reference \(reference.count)", sourceLocation: sourceLocation)
        return
    }
    let largest = reference.map(abs).max() ?? 0
    let outside = a.indices.filter { !tolerance.admits(Double(a[$0]), reference[$0], largest: largest) }
    func error(_ index: Int) -> Double {
        let difference = abs(Double(a[index]) - reference[index])
        return difference.isNaN ? .infinity : difference
    }
    guard let worst = outside.max(by: { error($0) < error($1) }) else { return }
    let pairs = zip(a, reference).prefix(5).map { "\($0) ~ \($1)" }.joined(separator: ", ")
    Issue.record(
        """
        \(label) \(outside.count) of \(a.count) outside \(tolerance): worst \(error(worst)) at [\(worst)]: \
        \(a[worst]) ~ \(reference[worst]); first: \(pairs)
        """, sourceLocation: sourceLocation)
}

/// The same for values in double precision, with `tolerance` as the absolute and the relative part.
public func expectClose(
    _ values: [Double], _ references: [Double], within tolerance: Double = Tolerance.double.absolute,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectClose(
        values, references, Tolerance(absolute: tolerance, relative: tolerance), sourceLocation: sourceLocation)
}
