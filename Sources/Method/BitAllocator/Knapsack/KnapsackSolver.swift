// SPDX-License-Identifier: Apache-2.0
// The exact solution: from the relaxed one, by dynamic programming over the classes whose choice is in doubt, those
// nearest to the last step first, with every partial solution that a bound excludes dropped (after Pisinger's minimal
// algorithm, European Journal of Operational Research 83, 1995). What remains at the end is proven to be the best.

/// Solves one problem.
struct KnapsackSolver {
    /// Partial solutions that are kept at once before the search gives up; a solution then carries its gap.
    var stateLimit = 4_000_000

    /// The choices of least sensitivity within the capacity.
    ///
    /// - Parameter problem: with a choice in every class.
    /// - Returns: nil where even the cheapest choices cost more than the capacity.
    /// - Complexity: O(m log m) for m choices, and in practice little more for the search.
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
    /// By class, the position in `undominated` that the relaxed solution has, rounded down.
    private var base: [Int]
    private var baseCost: Int
    private var baseSensitivity: Double
    /// What a unit of cost was worth to the last step; nil where all of them fit.
    private let worth: Double?
    private let relaxedBound: Double
    /// The best solution: positions by class.
    private var best: [Int]
    private var bestSensitivity: Double
    private var lowerBound: Double

    init(_ problem: KnapsackProblem, _ relaxation: KnapsackRelaxation) {
        self.problem = problem
        efficient = relaxation.efficient
        var base = [Int](repeating: 0, count: problem.classes.count)
        var (cost, sensitivity) = (relaxation.leastCost, relaxation.sensitivityAtLeastCost)
        var next = 0
        while next < relaxation.steps.count, cost + relaxation.steps[next].cost <= problem.capacity {
            let step = relaxation.steps[next]
            base[step.index] = step.position
            cost += step.cost
            sensitivity -= step.sensitivity
            next += 1
        }
        (self.base, baseCost, baseSensitivity) = (base, cost, sensitivity)
        // What still fits behind the step that does not: a first solution to beat. A class's steps come in order, and
        // one that was left out closes its class.
        var closed = Set<Int>()
        for step in relaxation.steps[next...] where !closed.contains(step.index) {
            if cost + step.cost <= problem.capacity {
                base[step.index] = step.position
                cost += step.cost
                sensitivity -= step.sensitivity
            } else {
                closed.insert(step.index)
            }
        }
        (best, bestSensitivity) = (base, sensitivity)
        if next < relaxation.steps.count {
            let slope = relaxation.steps[next].slope
            worth = slope
            relaxedBound = baseSensitivity - slope * Double(problem.capacity - baseCost)
        } else {
            worth = nil
            relaxedBound = sensitivity
        }
        lowerBound = relaxedBound
    }

    /// Sensitivities are summed in the order of the classes, so that equal choices have equal sensitivities.
    var solution: KnapsackSolution {
        let choices = zip(efficient, best).map { $0.undominated[$1] }
        let taken = zip(problem.classes, choices).map { $0[$1] }
        let sensitivity = taken.reduce(0) { $0 + $1.sensitivity }
        return KnapsackSolution(
            choices: choices, cost: taken.reduce(0) { $0 + $1.cost }, sensitivity: sensitivity,
            lowerBound: lowerBound == bestSensitivity ? sensitivity : min(lowerBound, sensitivity),
            relaxedBound: min(relaxedBound, sensitivity))
    }

    // MARK: Dynamic programming

    /// Another choice than the base's.
    private struct Deviation {
        let position: Int
        let cost: Int
        let sensitivity: Double
    }

    /// A class in doubt.
    private struct Doubt {
        let index: Int
        let deviations: [Deviation]
        /// What a unit of cost removes at most where more is spent, and adds at least where less is.
        let gain, loss: Double
    }

    /// Partial solutions by rising cost and strictly falling sensitivity.
    private struct States {
        var costs: [Int] = []
        var sensitivities: [Double] = []
        /// The last deviation of each; -1 for none.
        var nodes: [Int32] = []

        mutating func append(_ cost: Int, _ sensitivity: Double, _ node: Int32) {
            costs.append(cost)
            sensitivities.append(sensitivity)
            nodes.append(node)
        }
    }

    /// A deviation on the way to a state.
    private struct Node {
        let parent: Int32
        let index: Int32
        let position: Int32
    }

    mutating func run(stateLimit: Int) {
        guard let worth else {
            lowerBound = bestSensitivity
            return
        }
        let doubts = doubts(worth: worth)
        // Of the classes from k on: the bounds need the best of all that is still open.
        var (gains, losses) = ([0.0], [Double.infinity])
        for doubt in doubts.reversed() {
            gains.append(max(gains[gains.count - 1], doubt.gain))
            losses.append(min(losses[losses.count - 1], doubt.loss))
        }
        gains.reverse()
        losses.reverse()
        var nodes: [Node] = []
        var states = States()
        states.append(baseCost, baseSensitivity, -1)
        consider(states, nodes)
        for (k, doubt) in doubts.enumerated() {
            let (gain, loss) = (gains[k + 1], losses[k + 1])
            var merged = pruned(states, by: nil, gain: gain, loss: loss)
            for deviation in doubt.deviations {
                let moved = pruned(states, by: deviation, gain: gain, loss: loss)
                // Marked by what leads to them; they become nodes if they survive.
                merged = Self.merged(merged, moved, firstNew: nodes.count)
                for parent in moved.nodes {
                    nodes.append(
                        Node(
                            parent: parent, index: Int32(doubt.index), position: Int32(deviation.position)))
                }
            }
            states = merged
            consider(states, nodes)
            if states.costs.isEmpty { break }
            if states.costs.count > stateLimit || nodes.count > 20 * stateLimit {
                let open = states.costs.indices.map {
                    bound(states.costs[$0], states.sensitivities[$0], gain: gain, loss: loss)
                }
                lowerBound = min(bestSensitivity, max(relaxedBound, open.min() ?? bestSensitivity))
                return
            }
        }
        lowerBound = bestSensitivity
    }

    /// Deviations that a solution better than the best one can have, by class, those nearest to the last step first.
    private func doubts(worth: Double) -> [Doubt] {
        let slack = bestSensitivity - relaxedBound
        var doubts: [(doubt: Doubt, distance: Double)] = []
        for (index, choices) in efficient.enumerated() {
            let from = problem.classes[index][choices.undominated[base[index]]]
            var (gain, loss) = (0.0, Double.infinity)
            var deviations: [Deviation] = []
            for position in choices.undominated.indices where position != base[index] {
                let to = problem.classes[index][choices.undominated[position]]
                let (cost, sensitivity) = (to.cost - from.cost, to.sensitivity - from.sensitivity)
                // What the deviation alone adds to the relaxed bound.
                guard sensitivity + worth * Double(cost) <= slack else { continue }
                deviations.append(Deviation(position: position, cost: cost, sensitivity: sensitivity))
                if cost > 0 {
                    gain = max(gain, -sensitivity / Double(cost))
                } else {
                    loss = min(loss, sensitivity / Double(-cost))
                }
            }
            guard !deviations.isEmpty else { continue }
            doubts.append(
                (
                    Doubt(index: index, deviations: deviations, gain: gain, loss: loss),
                    min(worth - gain, loss - worth)
                ))
        }
        return doubts.sorted { ($0.distance, $0.doubt.index) < ($1.distance, $1.doubt.index) }.map(\.doubt)
    }

    /// No way of choosing the open classes makes less of a state than this: what is left of the capacity is spent at the
    /// best rate, what is missing is saved at the best rate.
    private func bound(_ cost: Int, _ sensitivity: Double, gain: Double, loss: Double) -> Double {
        let left = problem.capacity - cost
        // An infinite rate times nothing is no number.
        return left >= 0 ? sensitivity - gain * Double(left) : sensitivity + loss * Double(-left)
    }

    /// The states after `deviation` (nil: none) that may still lead to something better than the best solution.
    private func pruned(_ states: States, by deviation: Deviation?, gain: Double, loss: Double) -> States {
        var result = States()
        let (cost, sensitivity) = (deviation?.cost ?? 0, deviation?.sensitivity ?? 0)
        for index in states.costs.indices {
            let (c, d) = (states.costs[index] + cost, states.sensitivities[index] + sensitivity)
            guard bound(c, d, gain: gain, loss: loss) < bestSensitivity else { continue }
            result.append(c, d, states.nodes[index])
        }
        return result
    }

    /// Both lists in one, without what is as costly as another and does as much sensitivity. The nodes of `new` are counted from
    /// `firstNew`.
    private static func merged(_ old: States, _ new: States, firstNew: Int) -> States {
        var result = States()
        result.costs.reserveCapacity(old.costs.count + new.costs.count)
        var (i, j) = (0, 0)
        var least = Double.infinity
        while i < old.costs.count || j < new.costs.count {
            let takesOld =
                j == new.costs.count
                || (i < old.costs.count
                    && (old.costs[i], old.sensitivities[i]) <= (new.costs[j], new.sensitivities[j]))
            let (cost, sensitivity, node) =
                takesOld
                ? (old.costs[i], old.sensitivities[i], old.nodes[i])
                : (new.costs[j], new.sensitivities[j], Int32(firstNew + j))
            if takesOld { i += 1 } else { j += 1 }
            guard sensitivity < least else { continue }
            least = sensitivity
            result.append(cost, sensitivity, node)
        }
        return result
    }

    /// Takes the best state that fits, the open classes as they are, if it beats the best solution.
    private mutating func consider(_ states: States, _ nodes: [Node]) {
        // Sensitivities fall with cost: the last one that fits is the best.
        var (low, high) = (0, states.costs.count)
        while low < high {
            let middle = (low + high) / 2
            if states.costs[middle] <= problem.capacity { low = middle + 1 } else { high = middle }
        }
        guard low > 0, states.sensitivities[low - 1] < bestSensitivity else { return }
        bestSensitivity = states.sensitivities[low - 1]
        best = base
        var node = states.nodes[low - 1]
        while node >= 0 {
            let step = nodes[Int(node)]
            best[Int(step.index)] = Int(step.position)
            node = step.parent
        }
    }
}
