// SPDX-License-Identifier: Apache-2.0
// Bonus bits of the paper (BitsFusion, arXiv 2406.04333, Algorithm 1, part 3): +1 bit for layers whose CLIP-score drop
// at 3 bits is above its 90th percentile over the layers, another +1 above the 95th, another +1 above the 98th.

import Recipes

/// The bonus bits of an allocation.
public enum ClipBonus: Equatable, Sendable {
    /// The layers with bonus bits, and their number: 1, 2 or 3.
    case given([LayerID: Int])
    /// Some layers have no CLIP-score drop at 3 bits, so that no percentile could be computed.
    case skipped(layersWithoutClipDrop: Int)
    /// The options disable the bonus.
    case disabled

    /// Each percentile that a drop exceeds gives one bit.
    public static let percentiles = [90.0, 95.0, 98.0]
    /// The bits at which the drops are compared.
    public static let comparedBits = BitWidth(3)

    init(for candidates: [AllocationProblem.Candidate]) {
        let drops = candidates.map { $0.scores[Self.comparedBits]?.clipDrop }
        let known = drops.compactMap { $0 }
        guard known.count == candidates.count, !known.isEmpty else {
            self = .skipped(layersWithoutClipDrop: candidates.count - known.count)
            return
        }
        let limits = Self.percentiles.map { percentile($0, of: known) }
        var bonusBits: [LayerID: Int] = [:]
        for (candidate, drop) in zip(candidates, known) {
            let count = limits.count { drop > $0 }
            if count > 0 { bonusBits[candidate.path] = count }
        }
        self = .given(bonusBits)
    }

    /// The bonus bits of the layer at `path`.
    public func bits(for path: LayerID) -> Int {
        guard case .given(let bonusBits) = self else { return 0 }
        return bonusBits[path] ?? 0
    }
}

/// The `percent`th percentile of `values`, interpolated linearly between the two nearest ranks, as NumPy's default.
///
/// - Precondition: `values` is not empty; `percent` in `0...100`.
func percentile(_ percent: Double, of values: [Double]) -> Double {
    precondition(!values.isEmpty, "percentile: no values")
    let sorted = values.sorted()
    let rank = percent / 100 * Double(sorted.count - 1)
    let lower = Int(rank)
    let upper = min(lower + 1, sorted.count - 1)
    return sorted[lower] + (rank - Double(lower)) * (sorted[upper] - sorted[lower])
}
