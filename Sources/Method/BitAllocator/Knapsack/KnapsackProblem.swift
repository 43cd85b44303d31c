// SPDX-License-Identifier: Apache-2.0
// The multiple-choice knapsack problem, in which a bit budget is spent exactly:
//     minimise Σ_i damage_{i,x_i}    subject to    Σ_i cost_{i,x_i} <= capacity

/// Classes of which one choice each is taken: for layers, their widths.
struct KnapsackProblem {
    struct Choice: Equatable {
        /// >= 0.
        let cost: Int
        /// Finite; of either sign.
        let sensitivity: Double
    }

    /// None is empty.
    let classes: [[Choice]]
    let capacity: Int
}

/// One choice of every class.
struct KnapsackSolution {
    /// By class, an index into its choices.
    let choices: [Int]
    let cost: Int
    let sensitivity: Double
    /// No choices within the capacity do less sensitivity than this: the certificate. Equal to `sensitivity` where that is proven
    /// to be the least.
    let lowerBound: Double
    /// The bound that continuous choices give, which the search began with.
    let relaxedBound: Double

    /// 0 where the solution is proven to be the best.
    var gap: Double { sensitivity - lowerBound }
}
