// SPDX-License-Identifier: Apache-2.0
//
// Judges an image against a caption from the pixels alone, in the spirit of GenEval (arXiv:2310.11513) but
// without a network: the world is simple enough to be measured. Differs from GenEval in being strict: extra
// objects and unrecognisable blobs fail an image. Detection is in SceneEvaluator+Detection.swift.

import BitsFusion

/// Decides whether an image satisfies its caption.
public struct SceneEvaluator: Hashable, Sendable {
    /// A pixel belongs to an object if a channel differs this much from the background (in units of 0...1);
    /// palette colours differ by 0.42.
    public var contrast: Float = 0.2
    /// Regions of fewer pixels are specks and ignored; the smallest object of the world has about 20.
    public var minimumPixels = 6
    /// An object has a kind if an outline overlaps it at least this much (soft intersection over union).
    public var minimumOverlap: Float = 0.72
    /// An object has a colour if a palette entry is at most this far away (Euclidean, RGB in 0...1); halfway
    /// between two entries is 0.42.
    public var maximumColorDistance: Float = 0.4
    /// Centroids must differ by at least this much in a relation's direction, in pixels.
    public var relationMargin: Float = 2

    /// An evaluator with the project's thresholds.
    public init() {}

    /// Whether `image` shows exactly the objects of `caption`, in its relation.
    ///
    /// A relation holds if the offset between the centroids points more in its direction than across it.
    ///
    /// - Parameters:
    ///   - image: values in 0...1; the thresholds are tuned to 32x32 images of this world.
    ///   - caption: what the image is required to show.
    /// - Returns: the verdict with everything that was found.
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
