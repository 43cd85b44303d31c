// SPDX-License-Identifier: Apache-2.0
// How often images satisfy their prompts, scored as GenEval does (Ghosh et al. 2023, arXiv:2310.11513): per task
// family, and overall as the mean over families, so that large families do not outweigh small ones.
// n images of a family, F families.

/// The share of satisfied prompts, per family and overall.
public struct CompositionalScore: Hashable, Codable, Sendable {
    /// One family's result.
    public struct Family: Hashable, Codable, Sendable {
        /// The family's name, such as GenEval's tag `color_attr`.
        public let name: String
        /// Images that satisfy their prompt.
        public let satisfied: Int
        /// n, the number of images.
        public let count: Int

        /// p = satisfied / n, 0...1.
        public var score: Double { Double(satisfied) / Double(count) }

        /// √(p (1 - p) / n), the standard deviation of a share of n independent images.
        public var standardError: Double { (score * (1 - score) / Double(count)).squareRoot() }
    }

    /// The families, in the order in which they were first seen.
    public let families: [Family]

    /// Counts outcomes.
    ///
    /// - Parameter outcomes: one entry per image: its prompt's family, and whether it satisfies the prompt.
    public init(_ outcomes: some Sequence<(family: String, isSatisfied: Bool)>) {
        var order: [String] = []
        var counts: [String: (satisfied: Int, count: Int)] = [:]
        for (name, isSatisfied) in outcomes {
            if counts[name] == nil { order.append(name) }
            let present = counts[name] ?? (0, 0)
            counts[name] = (present.satisfied + (isSatisfied ? 1 : 0), present.count + 1)
        }
        families = order.compactMap { name in
            counts[name].map { Family(name: name, satisfied: $0.satisfied, count: $0.count) }
        }
    }

    /// The overall score, 1/F Σ p_f, NaN without images.
    public var overall: Double {
        families.reduce(0) { $0 + $1.score } / Double(families.count)
    }

    /// The overall score's standard error, 1/F √(Σ SE_f²): families are independent samples.
    public var overallStandardError: Double {
        families.reduce(0) { $0 + $1.standardError * $1.standardError }.squareRoot() / Double(families.count)
    }

    /// The number of images.
    public var count: Int { families.reduce(0) { $0 + $1.count } }
}
