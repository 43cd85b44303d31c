// SPDX-License-Identifier: Apache-2.0
// The continuous relaxation: widths of a layer may be mixed. It is solved by spending the budget where a unit of it
// removes most sensitivity (Sinha and Zoltners, Operations Research 27, 1979), and every point on the way is the exact optimum
// of its own cost.

/// The choices of a class that are worth their cost.
struct EfficientChoices {
    /// Indices of choices, by rising cost and strictly falling sensitivity: no other choice is as cheap and does as little.
    let undominated: [Int]
    /// The positions in `undominated` of those on the lower convex hull.
    let hull: [Int]

    init(_ choices: [KnapsackProblem.Choice]) {
        let order = choices.indices.sorted {
            (choices[$0].cost, choices[$0].sensitivity, $0) < (choices[$1].cost, choices[$1].sensitivity, $1)
        }
        var undominated: [Int] = []
        for index in order where undominated.last.map({ choices[index].sensitivity < choices[$0].sensitivity }) ?? true
        {
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
                let first = (a.sensitivity - b.sensitivity) * Double(point.cost - b.cost)
                guard first <= (b.sensitivity - point.sensitivity) * Double(b.cost - a.cost) else { break }
                hull.removeLast()
            }
            hull.append(position)
        }
        (self.undominated, self.hull) = (undominated, hull)
    }
}

/// All steps from the cheapest choices to those of the least sensitivity, the most effective ones first.
struct KnapsackRelaxation {
    /// From one choice on a class's hull to the next.
    struct Step {
        let index: Int
        /// Position in the class's `undominated` that the step leads to.
        let position: Int
        let cost: Int
        /// What it takes off, > 0.
        let sensitivity: Double

        var slope: Double { sensitivity / Double(cost) }
    }

    let efficient: [EfficientChoices]
    let steps: [Step]
    /// The cost and sensitivity of the cheapest choices.
    let leastCost: Int
    let sensitivityAtLeastCost: Double

    init(_ classes: [[KnapsackProblem.Choice]]) {
        let efficient = classes.map(EfficientChoices.init)
        var steps: [Step] = []
        for (index, choices) in efficient.enumerated() {
            for (from, to) in zip(choices.hull, choices.hull.dropFirst()) {
                let (a, b) = (
                    classes[index][choices.undominated[from]], classes[index][choices.undominated[to]]
                )
                steps.append(
                    Step(index: index, position: to, cost: b.cost - a.cost, sensitivity: a.sensitivity - b.sensitivity))
            }
        }
        self.efficient = efficient
        self.steps = steps.sorted { ($1.slope, $0.index, $0.position) < ($0.slope, $1.index, $1.position) }
        let cheapest = zip(classes, efficient).map { $0[$1.undominated[0]] }
        leastCost = cheapest.reduce(0) { $0 + $1.cost }
        sensitivityAtLeastCost = cheapest.reduce(0) { $0 + $1.sensitivity }
    }
}
