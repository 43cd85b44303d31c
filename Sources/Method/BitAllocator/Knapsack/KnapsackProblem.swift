// SPDX-License-Identifier: Apache-2.0
// The multiple-choice knapsack problem, by which a bit budget is spent exactly:
//     minimize sum_i penalty_{i,x_i}    subject to    sum_i cost_{i,x_i} <= capacity

/// Classes, of each of which exactly one choice is taken. For an allocation a class is a layer and a choice its bits.
struct KnapsackProblem {
    struct Choice: Equatable {
        /// >= 0.
        let cost: Int
        /// Finite; of either sign.
        let penalty: Double
    }

    /// None is empty.
    let classes: [[Choice]]
    var capacity: Int
}

/// One choice of every class.
struct KnapsackSolution {
    /// For each class, an index into its choices.
    let choices: [Int]
    let cost: Int
    let penalty: Double
    /// No choices within the capacity have a smaller penalty: the certificate. Equal to `penalty` if the solution is
    /// proven optimal.
    let lowerBound: Double
    /// The bound of the continuous relaxation, from which the search starts.
    let relaxedBound: Double

    /// 0 if the solution is proven optimal.
    var gap: Double { penalty - lowerBound }
}
