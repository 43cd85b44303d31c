// SPDX-License-Identifier: Apache-2.0
// More bits for the layers whose quantization changes what the images show (BitsFusion, arXiv 2406.04333, Algorithm 1,
// part 3): +1 bit where the CLIP-score drop at 3 bits is above its 90th percentile over the layers, another +1 above
// the 95th, another +1 above the 98th.

import Recipes

/// What became of the bonus bits.
public enum ClipBonus: Equatable, Sendable {
    /// The layers that got bits, and how many: 1, 2 or 3.
    case given([LayerID: Int])
    /// Some layers have no CLIP-score drop at 3 bits, so none could be ranked.
    case skipped(layersWithoutClipDrop: Int)
    /// The options ask for none.
    case disabled

    /// The percentiles that each give another bit.
    public static let percentiles = [90.0, 95.0, 98.0]
    /// The width at which the drops are compared.
    public static let width = BitWidth(3)

    init(for candidates: [AllocationProblem.Candidate]) {
        let drops = candidates.map { $0.measures[Self.width]?.clipDrop }
        let known = drops.compactMap { $0 }
        guard known.count == candidates.count, !known.isEmpty else {
            self = .skipped(layersWithoutClipDrop: candidates.count - known.count)
            return
        }
        let limits = Self.percentiles.map { percentile($0, of: known) }
        var extra: [LayerID: Int] = [:]
        for (candidate, drop) in zip(candidates, known) {
            let count = limits.count { drop > $0 }
            if count > 0 { extra[candidate.path] = count }
        }
        self = .given(extra)
    }

    /// The bits that the layer at `path` gets.
    public func bits(for path: LayerID) -> Int {
        guard case .given(let extra) = self else { return 0 }
        return extra[path] ?? 0
    }
}

/// The `percent`th percentile of `values`, interpolated linearly between the two nearest ranks, as NumPy does.
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
