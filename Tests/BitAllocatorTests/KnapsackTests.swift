// SPDX-License-Identifier: Apache-2.0
// The exact solver against trying everything, on random and on adversarial problems.

import Foundation
import Testing

@testable import BitAllocator

@Suite struct KnapsackTests {
    /// The least sensitivity of all choices within the capacity.
    private func bruteForce(_ problem: KnapsackProblem) -> Double? {
        var best: Double?
        func descend(_ index: Int, _ cost: Int, _ sensitivity: Double) {
            guard cost <= problem.capacity else { return }
            guard index < problem.classes.count else {
                best = min(best ?? .infinity, sensitivity)
                return
            }
            for choice in problem.classes[index] {
                descend(index + 1, cost + choice.cost, sensitivity + choice.sensitivity)
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
        let sensitivity = taken.reduce(0) { $0 + $1.sensitivity }
        #expect(cost == found.cost && cost <= problem.capacity, comment)
        #expect(sensitivity == found.sensitivity, comment)
        // Sums in another order.
        #expect(abs(sensitivity - best) <= 1e-12 * max(1, abs(best)), comment)
        #expect(found.gap == 0 && found.lowerBound == found.sensitivity, comment)
        #expect(found.relaxedBound <= found.sensitivity, comment)
    }

    /// How sensitivities and costs of a random problem come about.
    enum Kind: CaseIterable {
        case any, falling, equalSensitivities, zeroSensitivities, risingSensitivities, equalCosts, oneGiant, negative,
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
                let sensitivity: Double
                switch kind {
                case .any, .equalCosts: sensitivity = Double.random(in: 0...1, using: &random)
                case .falling, .oneGiant:
                    sensitivity = first * pow(4, -Double(bits)) * Double.random(in: 0.8...1.2, using: &random)
                case .equalSensitivities: sensitivity = Double(Int.random(in: 0...2, using: &random))
                case .zeroSensitivities: sensitivity = 0
                case .risingSensitivities: sensitivity = first * Double(bits)
                case .negative: sensitivity = Double.random(in: -1...1, using: &random)
                // Every choice is worth the same per cost: bounds tell them apart least.
                case .correlated: sensitivity = Double(8 - bits) * Double(weights)
                }
                return KnapsackProblem.Choice(cost: weights * bits, sensitivity: sensitivity)
            }
        }
        let most = classes.reduce(0) { sum, own in sum + (own.map(\.cost).max() ?? 0) }
        return KnapsackProblem(
            classes: classes, capacity: Int.random(in: 0...(most + most / 10), using: &random))
    }

    @Test("the solution is that of trying everything, with its proof", arguments: Kind.allCases)
    func bruteForce(kind: Kind) throws {
        for seed in 0..<600 { try check(problem(kind, seed: UInt64(seed)), "\(kind) \(seed)") }
    }

    @Test("capacities that are met exactly, and those just below, are told apart") func exact() throws {
        for seed in 0..<200 {
            let any = problem(.falling, seed: UInt64(seed))
            var random = SeededGenerator(state: UInt64(seed))
            let cost = any.classes.reduce(0) { $0 + ($1.randomElement(using: &random)?.cost ?? 0) }
            for capacity in [cost, cost - 1] {
                try check(KnapsackProblem(classes: any.classes, capacity: capacity), "\(seed) \(capacity)")
            }
        }
    }

    @Test("no classes cost nothing, and a capacity below 0 has no solution") func edges() {
        let none = KnapsackSolver().solve(KnapsackProblem(classes: [], capacity: 0))
        #expect(none?.sensitivity == 0 && none?.gap == 0)
        #expect(KnapsackSolver().solve(KnapsackProblem(classes: [], capacity: -1)) == nil)
    }

    @Test("a search that gives up says how far it may be from the best") func givesUp() throws {
        var random = SeededGenerator(state: 5)
        let classes = (0..<60).map { _ in
            let weights = Int.random(in: 1_000_000...2_000_000, using: &random)
            return (1...4).map {
                KnapsackProblem.Choice(cost: weights * $0, sensitivity: Double(weights * (5 - $0)))
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
