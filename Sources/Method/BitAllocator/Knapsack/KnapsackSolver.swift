// SPDX-License-Identifier: Apache-2.0
// The exact solution: starts from the relaxed one and runs a dynamic program over the classes whose choice is
// undecided, those nearest to the last step first. Partial solutions that a bound excludes are dropped (after
// Pisinger's minimal algorithm, European Journal of Operational Research 83, 1995). The remaining solution is proven
// optimal.

/// Solves one problem.
struct KnapsackSolver {
    /// The number of partial solutions at which the search stops; the gap of the solution is then not 0.
    var stateLimit = 4_000_000

    /// The choices with the smallest penalty within the capacity.
    ///
    /// - Parameter problem: with a choice in every class.
    /// - Returns: nil if the cheapest choices cost more than the capacity.
    /// - Complexity: O(m log m) for m choices; the search adds little in practice.
    func solve(_ problem: KnapsackProblem) -> KnapsackSolution? {
        let relaxation = KnapsackRelaxation(problem.classes)
        guard relaxation.leastCost <= problem.capacity else { return nil }
        var search = Search(problem, relaxation)
        search.run(stateLimit: stateLimit)
        return search.solution
    }
}

/// The state of one search.
private struct Search {
    private let problem: KnapsackProblem
    private let efficient: [EfficientChoices]
    /// For each class, the position in `undominated` of the relaxed solution, rounded down.
    private var base: [Int]
    private var baseCost: Int
    private var basePenalty: Double
    /// The reduction of the penalty per unit of cost of the first step that does not fit; nil if all steps fit.
    private let rate: Double?
    private let relaxedBound: Double
    /// The best solution so far: for each class, the position in `undominated`.
    private var best: [Int]
    private var bestPenalty: Double
    private var lowerBound: Double

    init(_ problem: KnapsackProblem, _ relaxation: KnapsackRelaxation) {
        self.problem = problem
        efficient = relaxation.efficient
        var base = [Int](repeating: 0, count: problem.classes.count)
        var (cost, penalty) = (relaxation.leastCost, relaxation.penaltyAtLeastCost)
        var next = 0
        while next < relaxation.steps.count, cost + relaxation.steps[next].cost <= problem.capacity {
            let step = relaxation.steps[next]
            base[step.index] = step.position
            cost += step.cost
            penalty -= step.penalty
            next += 1
        }
        (self.base, baseCost, basePenalty) = (base, cost, penalty)
        // Later steps that still fit give the first solution. The steps of a class are ordered: a skipped step
        // excludes the later ones of its class.
        var closed = Set<Int>()
        for step in relaxation.steps[next...] where !closed.contains(step.index) {
            if cost + step.cost <= problem.capacity {
                base[step.index] = step.position
                cost += step.cost
                penalty -= step.penalty
            } else {
                closed.insert(step.index)
            }
        }
        (best, bestPenalty) = (base, penalty)
        if next < relaxation.steps.count {
            let slope = relaxation.steps[next].slope
            rate = slope
            relaxedBound = basePenalty - slope * Double(problem.capacity - baseCost)
        } else {
            rate = nil
            relaxedBound = penalty
        }
        lowerBound = relaxedBound
    }

    /// Penalties are summed in the order of the classes, so that equal choices have equal sums.
    var solution: KnapsackSolution {
        let choices = zip(efficient, best).map { $0.undominated[$1] }
        let taken = zip(problem.classes, choices).map { $0[$1] }
        let penalty = taken.reduce(0) { $0 + $1.penalty }
        return KnapsackSolution(
            choices: choices, cost: taken.reduce(0) { $0 + $1.cost }, penalty: penalty,
            lowerBound: lowerBound == bestPenalty ? penalty : min(lowerBound, penalty),
            relaxedBound: min(relaxedBound, penalty))
    }

    // MARK: Dynamic programming

    /// A choice that differs from the base's.
    private struct Deviation {
        let position: Int
        let cost: Int
        let penalty: Double
    }

    /// A class whose choice is undecided.
    private struct UndecidedClass {
        let index: Int
        let deviations: [Deviation]
        /// The largest reduction of the penalty per unit of additional cost, and the smallest increase per unit saved.
        let gain, loss: Double
    }

    /// Partial solutions by ascending cost and strictly descending penalty.
    private struct States {
        var costs: [Int] = []
        var penalties: [Double] = []
        /// The node of the last deviation of each; -1 without one.
        var nodes: [Int32] = []

        mutating func append(_ cost: Int, _ penalty: Double, _ node: Int32) {
            costs.append(cost)
            penalties.append(penalty)
            nodes.append(node)
        }
    }

    /// A deviation that leads to a state.
    private struct Node {
        let parent: Int32
        let index: Int32
        let position: Int32
    }

    mutating func run(stateLimit: Int) {
        guard let rate else {
            lowerBound = bestPenalty
            return
        }
        let undecided = undecided(rate: rate)
        // For the classes from k on: the bounds use the best rates of all undecided classes.
        var (gains, losses) = ([0.0], [Double.infinity])
        for candidate in undecided.reversed() {
            gains.append(max(gains[gains.count - 1], candidate.gain))
            losses.append(min(losses[losses.count - 1], candidate.loss))
        }
        gains.reverse()
        losses.reverse()
        var nodes: [Node] = []
        var states = States()
        states.append(baseCost, basePenalty, -1)
        consider(states, nodes)
        for (k, candidate) in undecided.enumerated() {
            let (gain, loss) = (gains[k + 1], losses[k + 1])
            var merged = pruned(states, by: nil, gain: gain, loss: loss)
            for deviation in candidate.deviations {
                let moved = pruned(states, by: deviation, gain: gain, loss: loss)
                // New states refer to the nodes appended below.
                merged = Self.merged(merged, moved, firstNew: nodes.count)
                for parent in moved.nodes {
                    nodes.append(
                        Node(
                            parent: parent, index: Int32(candidate.index), position: Int32(deviation.position)))
                }
            }
            states = merged
            consider(states, nodes)
            if states.costs.isEmpty { break }
            if states.costs.count > stateLimit || nodes.count > 20 * stateLimit {
                let open = states.costs.indices.map {
                    bound(states.costs[$0], states.penalties[$0], gain: gain, loss: loss)
                }
                lowerBound = min(bestPenalty, max(relaxedBound, open.min() ?? bestPenalty))
                return
            }
        }
        lowerBound = bestPenalty
    }

    /// The deviations that a better solution can contain, by class, those nearest to the last step first.
    private func undecided(rate: Double) -> [UndecidedClass] {
        let slack = bestPenalty - relaxedBound
        var undecided: [(candidate: UndecidedClass, distance: Double)] = []
        for (index, choices) in efficient.enumerated() {
            let from = problem.classes[index][choices.undominated[base[index]]]
            var (gain, loss) = (0.0, Double.infinity)
            var deviations: [Deviation] = []
            for position in choices.undominated.indices where position != base[index] {
                let to = problem.classes[index][choices.undominated[position]]
                let (cost, penalty) = (to.cost - from.cost, to.penalty - from.penalty)
                // The increase of the relaxed bound by this deviation alone.
                guard penalty + rate * Double(cost) <= slack else { continue }
                deviations.append(Deviation(position: position, cost: cost, penalty: penalty))
                if cost > 0 {
                    gain = max(gain, -penalty / Double(cost))
                } else {
                    loss = min(loss, penalty / Double(-cost))
                }
            }
            guard !deviations.isEmpty else { continue }
            undecided.append(
                (
                    UndecidedClass(index: index, deviations: deviations, gain: gain, loss: loss),
                    min(rate - gain, loss - rate)
                ))
        }
        return undecided.sorted { ($0.distance, $0.candidate.index) < ($1.distance, $1.candidate.index) }.map(
            \.candidate)
    }

    /// A lower bound for all completions of a state: the capacity left over is spent at the best rate, and missing
    /// capacity is saved at the best rate.
    private func bound(_ cost: Int, _ penalty: Double, gain: Double, loss: Double) -> Double {
        let left = problem.capacity - cost
        // An infinite rate times 0 would be NaN.
        return left >= 0 ? penalty - gain * Double(left) : penalty + loss * Double(-left)
    }

    /// The states after `deviation` (nil: none) that may still lead to a better solution.
    private func pruned(_ states: States, by deviation: Deviation?, gain: Double, loss: Double) -> States {
        var result = States()
        let (cost, penalty) = (deviation?.cost ?? 0, deviation?.penalty ?? 0)
        for index in states.costs.indices {
            let (c, d) = (states.costs[index] + cost, states.penalties[index] + penalty)
            guard bound(c, d, gain: gain, loss: loss) < bestPenalty else { continue }
            result.append(c, d, states.nodes[index])
        }
        return result
    }

    /// Merges two lists without dominated states. The nodes of `new` start at `firstNew`.
    private static func merged(_ old: States, _ new: States, firstNew: Int) -> States {
        var result = States()
        result.costs.reserveCapacity(old.costs.count + new.costs.count)
        var (i, j) = (0, 0)
        var smallestPenalty = Double.infinity
        while i < old.costs.count || j < new.costs.count {
            let takesOld =
                j == new.costs.count
                || (i < old.costs.count
                    && (old.costs[i], old.penalties[i]) <= (new.costs[j], new.penalties[j]))
            let (cost, penalty, node) =
                takesOld
                ? (old.costs[i], old.penalties[i], old.nodes[i])
                : (new.costs[j], new.penalties[j], Int32(firstNew + j))
            if takesOld { i += 1 } else { j += 1 }
            guard penalty < smallestPenalty else { continue }
            smallestPenalty = penalty
            result.append(cost, penalty, node)
        }
        return result
    }

    /// Takes the best state that fits, with the base's choices for the undecided classes, if it is better than the
    /// best solution.
    private mutating func consider(_ states: States, _ nodes: [Node]) {
        // Penalties descend with cost: the last state that fits is the best.
        var (low, high) = (0, states.costs.count)
        while low < high {
            let middle = (low + high) / 2
            if states.costs[middle] <= problem.capacity { low = middle + 1 } else { high = middle }
        }
        guard low > 0, states.penalties[low - 1] < bestPenalty else { return }
        bestPenalty = states.penalties[low - 1]
        best = base
        var node = states.nodes[low - 1]
        while node >= 0 {
            let step = nodes[Int(node)]
            best[Int(step.index)] = Int(step.position)
            node = step.parent
        }
    }
}
