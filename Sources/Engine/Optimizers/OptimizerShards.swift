// SPDX-License-Identifier: Apache-2.0
// Which process updates which elements (Rajbhandari et al. 2020, "ZeRO", arXiv:1910.02054, stages 1 and 2).

import Tensors

/// The division of all elements of an optimizer's parameters among processes. Every process holds moments and summed
/// gradients of its own elements only.
public struct OptimizerShards: Sendable {
    /// The number of this process.
    public let rank: Int
    /// By rank, then by the index of the parameter: consecutive ranges, some of them empty, that cover the parameter.
    let elements: [[Range<Int>]]

    /// The elements of this process, by the index of the parameter.
    var own: [Range<Int>] { elements[rank] }

    /// The number of elements of a parameter in each process.
    func counts(_ slot: Int) -> [Int] { elements.map { $0[slot].count } }

    /// Divides parameters of `counts` elements, of which those of a group are adjacent in memory.
    ///
    /// - Parameters:
    ///   - counts: the elements of each parameter.
    ///   - groups: the parameters of each group. Every group is divided evenly.
    ///   - process: the number of this process, and of all.
    init(_ counts: [Int], groups: [Range<Int>], process: (rank: Int, count: Int)) {
        rank = process.rank
        var elements = [[Range<Int>]](
            repeating: counts.map { _ in 0..<0 }, count: process.count)
        for group in groups {
            let total = counts[group].reduce(0, +)
            var done = 0
            // Whole chunks, since the norm is a sum over chunks.
            for chunk in AdamWChunk.cut(counts).lazy.filter({ group.contains($0.slot) }) {
                let owner = min(done * process.count / max(total, 1), process.count - 1)
                let before = elements[owner][chunk.slot]
                elements[owner][chunk.slot] =
                    before.isEmpty ? chunk.elements : before.lowerBound..<chunk.elements.upperBound
                done += chunk.elements.count
            }
        }
        self.elements = elements
    }
}
