// SPDX-License-Identifier: Apache-2.0
// The exact solver compared with brute force, on random and on adversarial problems.

import Foundation
import Testing

@testable import BitAllocator

@Suite struct KnapsackTests {
    /// The smallest penalty of all choices within the capacity.
    private func bruteForce(_ problem: KnapsackProblem) -> Double? {
        var best: Double?
        func descend(_ index: Int, _ cost: Int, _ penalty: Double) {
            guard cost <= problem.capacity else { return }
            guard index < problem.classes.count else {
                best = min(best ?? .infinity, penalty)
                return
            }
            for choice in problem.classes[index] {
                descend(index + 1, cost + choice.cost, penalty + choice.penalty)
            }
        }
        descend(0, 0, 0)
        return best
    }

    private func check(_ problem: KnapsackProblem, _ comment: Comment) throws {
        let solution = KnapsackSolver().solve(problem)
        guard let best = bruteForce(problem) else {
            #expect(solution == nil, comment)
            return
        }
        let found = try #require(solution, comment)
        let taken = zip(problem.classes, found.choices).map { $0[$1] }
        let cost = taken.reduce(0) { $0 + $1.cost }
        let penalty = taken.reduce(0) { $0 + $1.penalty }
        #expect(cost == found.cost && cost <= problem.capacity, comment)
        #expect(penalty == found.penalty, comment)
        // The sums are in different orders.
        #expect(abs(penalty - best) <= 1e-12 * max(1, abs(best)), comment)
        #expect(found.gap == 0 && found.lowerBound == found.penalty, comment)
        #expect(found.relaxedBound <= found.penalty, comment)
    }

    /// How penalties and costs of a random problem are drawn.
    enum Kind: CaseIterable {
        case any, falling, equalPenalties, zeroPenalties, risingPenalties, equalCosts, oneGiant, negative,
            correlated
    }

    private func problem(_ kind: Kind, seed: UInt64) -> KnapsackProblem {
        var random = SeededGenerator(state: seed)
        let layers = Int.random(in: 1...8, using: &random)
        let classes = (0..<layers).map { layer -> [KnapsackProblem.Choice] in
            let weights =
                kind == .oneGiant && layer == 0
                ? 1_000_000 : kind == .equalCosts ? 64 : Int.random(in: 1...2000, using: &random)
            let first = exp(Double.random(in: -6...0, using: &random))
            return (1...Int.random(in: 1...4, using: &random)).map { bits in
                let penalty: Double
                switch kind {
                case .any, .equalCosts: penalty = Double.random(in: 0...1, using: &random)
                case .falling, .oneGiant:
                    penalty = first * pow(4, -Double(bits)) * Double.random(in: 0.8...1.2, using: &random)
                case .equalPenalties: penalty = Double(Int.random(in: 0...2, using: &random))
                case .zeroPenalties: penalty = 0
                case .risingPenalties: penalty = first * Double(bits)
                case .negative: penalty = Double.random(in: -1...1, using: &random)
                // Every choice has the same penalty per cost, the hardest case for the bounds.
                case .correlated: penalty = Double(8 - bits) * Double(weights)
                }
                return KnapsackProblem.Choice(cost: weights * bits, penalty: penalty)
            }
        }
        let most = classes.reduce(0) { sum, choices in sum + (choices.map(\.cost).max() ?? 0) }
        return KnapsackProblem(
            classes: classes, capacity: Int.random(in: 0...(most + most / 10), using: &random))
    }

    @Test("the solution is that of brute force, with a proof", arguments: Kind.allCases)
    func bruteForce(kind: Kind) throws {
        for seed in 0..<600 { try check(problem(kind, seed: UInt64(seed)), "\(kind) \(seed)") }
    }

    @Test("capacities that a choice meets exactly differ from those just below") func exact() throws {
        for seed in 0..<200 {
            let any = problem(.falling, seed: UInt64(seed))
            var random = SeededGenerator(state: UInt64(seed))
            let cost = any.classes.reduce(0) { $0 + ($1.randomElement(using: &random)?.cost ?? 0) }
            for capacity in [cost, cost - 1] {
                try check(KnapsackProblem(classes: any.classes, capacity: capacity), "\(seed) \(capacity)")
            }
        }
    }

    @Test("an empty problem has cost 0, and a negative capacity has no solution") func edges() {
        let none = KnapsackSolver().solve(KnapsackProblem(classes: [], capacity: 0))
        #expect(none?.penalty == 0 && none?.gap == 0)
        #expect(KnapsackSolver().solve(KnapsackProblem(classes: [], capacity: -1)) == nil)
    }

    @Test("a search that stops early reports its gap") func stopsEarly() throws {
        var random = SeededGenerator(state: 5)
        let classes = (0..<60).map { _ in
            let weights = Int.random(in: 1_000_000...2_000_000, using: &random)
            return (1...4).map {
                KnapsackProblem.Choice(cost: weights * $0, penalty: Double(weights * (5 - $0)))
            }
        }
        let problem = KnapsackProblem(classes: classes, capacity: 150_000_001)
        var solver = KnapsackSolver()
        solver.stateLimit = 50
        let found = try #require(solver.solve(problem))
        #expect(found.cost <= problem.capacity && found.gap >= 0)
        #expect(found.lowerBound >= found.relaxedBound)
    }
}
