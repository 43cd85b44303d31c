// SPDX-License-Identifier: Apache-2.0
// Checks an image against a caption from its pixels, as GenEval (arXiv:2310.11513) does with a network. Differs from
// GenEval: extra objects and unrecognized regions fail an image. Detection is in SceneEvaluator+Detection.swift.

import BitsFusion

/// Decides whether an image satisfies its caption.
public struct SceneEvaluator: Hashable, Sendable {
    /// A pixel belongs to an object if a channel differs from the background by more than this, in units of 0...1.
    /// Palette colors differ by 0.42.
    public var contrast: Float = 0.2
    /// Regions of fewer pixels are ignored. The smallest object has about 20.
    public var minimumPixels = 6
    /// The smallest soft intersection over union with an outline for which an object has a kind.
    public var minimumOverlap: Float = 0.72
    /// The largest Euclidean distance to a palette entry, RGB in 0...1, for which an object has a color. The midpoint
    /// of two entries has a distance of 0.42.
    public var maximumColorDistance: Float = 0.4
    /// The smallest distance between centroids along a relation, in pixels.
    public var relationMargin: Float = 2

    /// An evaluator with the project's thresholds.
    public init() {}

    /// Whether `image` shows exactly the objects of `caption`, in its relation.
    ///
    /// A relation holds if the offset between the centroids is larger along its direction than across it.
    ///
    /// - Parameters:
    ///   - image: values in 0...1. The thresholds suit 32x32 images of this world.
    ///   - caption: the caption.
    /// - Returns: the verdict, and all objects that were found.
    /// - Complexity: about 0.2 ms for a 32x32 image.
    public func evaluate(_ image: RGBImage, against caption: SceneCaption) -> Verdict {
        judge(detect(image), against: caption)
    }

    /// The verdict on an image in which `found` was detected.
    public func judge(_ found: [DetectedObject], against caption: SceneCaption) -> Verdict {
        Verdict(found: found, mismatches: mismatch(found, caption).map { [$0] } ?? [])
    }

    private func mismatch(_ found: [DetectedObject], _ caption: SceneCaption) -> Verdict.Mismatch? {
        let required = caption.objects
        guard found.count == required.count else {
            return .count(expected: required.count, found: found.count)
        }
        var missing = required
        var isArranged = false
        _ = Assignment.first(count: required.count) { assignment in
            let unmet = required.indices.filter { !found[assignment[$0]].satisfies(required[$0]) }
            if unmet.count < missing.count { missing = unmet.map { required[$0] } }
            guard unmet.isEmpty else { return false }
            isArranged = holds(caption.relation, found, assignment)
            return isArranged
        }
        if isArranged { return nil }
        if missing.isEmpty, let relation = caption.relation { return .relation(expected: relation) }
        return .objects(missing: missing)
    }

    private func holds(_ relation: Relation?, _ found: [DetectedObject], _ assignment: [Int]) -> Bool {
        guard let relation else { return true }
        let offset = found[assignment[0]].center - found[assignment[1]].center
        return relation.holds(offset: offset, margin: relationMargin)
    }
}

/// One connected region of an image that stands out from the background.
public struct DetectedObject: Hashable, Sendable {
    /// The outline that fits best; nil if its overlap is below the threshold.
    public let kind: ShapeKind?
    /// The nearest palette entry; nil if its distance is above the threshold.
    public let color: ShapeColor?
    /// Mean color of the region without its edge, 0...1.
    public let rgb: SIMD3<Float>
    /// Centroid in pixels, x right, y down. The center of pixel (0, 0) is (0.5, 0.5).
    public let center: SIMD2<Float>
    /// Soft area in square pixels.
    public let area: Float
    /// Soft intersection over union with the best outline, 0...1.
    public let overlap: Float

    /// Whether the object matches `phrase`.
    public func satisfies(_ phrase: ObjectPhrase) -> Bool {
        kind == phrase.kind && (phrase.color == nil || color == phrase.color)
    }
}

extension DetectedObject: CustomStringConvertible {
    public var description: String {
        let x = Int(center.x.rounded()), y = Int(center.y.rounded())
        return "\(color?.word ?? "uncolored") \(kind?.noun ?? "blob") at (\(x), \(y))"
    }
}

/// Whether an image satisfies a caption, and the reason if not.
public struct Verdict: Hashable, Sendable {
    /// The reason why an image does not satisfy its caption.
    public enum Mismatch: Hashable, Sendable {
        /// The image shows `found` objects instead of `expected`.
        case count(expected: Int, found: Int)
        /// The right number of objects, but not the right ones. `missing` are the phrases that the best pairing leaves.
        case objects(missing: [ObjectPhrase])
        /// The right objects in another relation.
        case relation(expected: Relation)
    }

    /// All objects that were found, in raster order of the topmost pixel.
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
