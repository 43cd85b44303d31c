// SPDX-License-Identifier: Apache-2.0
//
// What the evaluator found, and what it says about a caption.

/// One connected region of an image that stands out from the background.
public struct DetectedObject: Hashable, Sendable {
    /// The outline that fits best; nil if none fits well enough.
    public let kind: ShapeKind?
    /// The nearest palette entry; nil if none is near enough.
    public let color: ShapeColor?
    /// Mean colour of the region's core, 0...1.
    public let rgb: SIMD3<Float>
    /// Centroid in pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5).
    public let center: SIMD2<Float>
    /// Soft area in square pixels.
    public let area: Float
    /// Soft intersection over union with the best outline, 0...1.
    public let overlap: Float

    /// Whether the object is what `phrase` asks for.
    public func satisfies(_ phrase: ObjectPhrase) -> Bool {
        kind == phrase.kind && (phrase.color == nil || color == phrase.color)
    }
}

extension DetectedObject: CustomStringConvertible {
    public var description: String {
        let x = Int(center.x.rounded()), y = Int(center.y.rounded())
        return "\(color?.word ?? "uncoloured") \(kind?.noun ?? "blob") at (\(x), \(y))"
    }
}

/// Whether an image satisfies a caption, and if not, why.
public struct Verdict: Hashable, Sendable {
    /// One way in which an image misses its caption.
    public enum Mismatch: Hashable, Sendable {
        /// The image shows `found` objects instead of `expected`.
        case count(expected: Int, found: Int)
        /// The right number of objects, but not these ones; `missing` are the phrases left over by the best pairing.
        case objects(missing: [ObjectPhrase])
        /// The right objects in another arrangement.
        case relation(expected: Relation)
    }

    /// Everything that was found, in raster order of the topmost pixel.
    public let found: [DetectedObject]
    /// Empty if the image satisfies the caption.
    public let mismatches: [Mismatch]

    /// Whether the image shows exactly what the caption asks for.
    public var isSatisfied: Bool { mismatches.isEmpty }
}

extension Verdict: CustomStringConvertible {
    public var description: String {
        let seen = found.isEmpty ? "nothing" : found.map(\.description).joined(separator: ", ")
        guard !isSatisfied else { return "satisfied: found \(seen)" }
        return mismatches.map(\.description).joined(separator: "; ") + "; found \(seen)"
    }
}

extension Verdict.Mismatch: CustomStringConvertible {
    public var description: String {
        switch self {
        case .count(let expected, let found): "expected \(expected) objects, found \(found)"
        case .objects(let missing): "missing: " + missing.map(\.description).joined(separator: ", ")
        case .relation(let expected): "the first is not \(expected) the second"
        }
    }
}
