// SPDX-License-Identifier: Apache-2.0
// The continuous relaxation, in which the choices of a class may be mixed. It is solved by spending the budget where
// one unit reduces the penalty most (Sinha and Zoltners, Operations Research 27, 1979). Every intermediate point is
// the exact optimum of its own cost.

/// The choices of a class that are worth their cost.
struct EfficientChoices {
    /// Indices of choices, by ascending cost and strictly descending penalty: no other choice is as cheap with as
    /// small a penalty.
    let undominated: [Int]
    /// The positions in `undominated` of those on the lower convex hull.
    let hull: [Int]

    init(_ choices: [KnapsackProblem.Choice]) {
        let order = choices.indices.sorted {
            (choices[$0].cost, choices[$0].penalty, $0) < (choices[$1].cost, choices[$1].penalty, $1)
        }
        var undominated: [Int] = []
        for index in order where undominated.last.map({ choices[index].penalty < choices[$0].penalty }) ?? true {
            undominated.append(index)
        }
        var hull: [Int] = []
        for position in undominated.indices {
            let point = choices[undominated[position]]
            while hull.count > 1 {
                let (a, b) = (
                    choices[undominated[hull[hull.count - 2]]], choices[undominated[hull[hull.count - 1]]]
                )
                // The middle one stays where the first step removes more per cost than the second.
                let first = (a.penalty - b.penalty) * Double(point.cost - b.cost)
                guard first <= (b.penalty - point.penalty) * Double(b.cost - a.cost) else { break }
                hull.removeLast()
            }
            hull.append(position)
        }
        (self.undominated, self.hull) = (undominated, hull)
    }
}

/// All steps from the cheapest choices to those with the smallest penalty, the most effective ones first.
struct KnapsackRelaxation {
    /// From one choice on a class's hull to the next.
    struct Step {
        let index: Int
        /// Position in the class's `undominated` that the step leads to.
        let position: Int
        let cost: Int
        /// The reduction of the penalty, > 0.
        let penalty: Double

        var slope: Double { penalty / Double(cost) }
    }

    let efficient: [EfficientChoices]
    let steps: [Step]
    /// The cost and penalty of the cheapest choices.
    let leastCost: Int
    let penaltyAtLeastCost: Double

    init(_ classes: [[KnapsackProblem.Choice]]) {
        let efficient = classes.map(EfficientChoices.init)
        var steps: [Step] = []
        for (index, choices) in efficient.enumerated() {
            for (from, to) in zip(choices.hull, choices.hull.dropFirst()) {
                let (a, b) = (
                    classes[index][choices.undominated[from]], classes[index][choices.undominated[to]]
                )
                steps.append(
                    Step(index: index, position: to, cost: b.cost - a.cost, penalty: a.penalty - b.penalty))
            }
        }
        self.efficient = efficient
        self.steps = steps.sorted { ($1.slope, $0.index, $0.position) < ($0.slope, $1.index, $1.position) }
        let cheapest = zip(classes, efficient).map { $0[$1.undominated[0]] }
        leastCost = cheapest.reduce(0) { $0 + $1.cost }
        penaltyAtLeastCost = cheapest.reduce(0) { $0 + $1.penalty }
    }
}
