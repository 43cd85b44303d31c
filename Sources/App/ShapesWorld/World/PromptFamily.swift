// SPDX-License-Identifier: Apache-2.0
//
// The six task families of GenEval (Ghosh et al. 2023, arXiv:2310.11513), and how often each is drawn.

/// What a caption asks for; the raw values are GenEval's tags.
public enum PromptFamily: String, CaseIterable, Hashable, Sendable, Codable, CodingKeyRepresentable {
    /// "a circle"
    case singleObject = "single_object"
    /// "a circle and a square"
    case twoObjects = "two_object"
    /// "three triangles"
    case counting
    /// "a red circle"
    case colors
    /// "a circle left of a square", "a red circle left of a blue square"
    case position
    /// "a red circle and a blue square"
    case colorAttribution = "color_attr"

    /// A short label for tables: `"color attribution"`.
    public var title: String {
        switch self {
        case .singleObject: "single object"
        case .twoObjects: "two objects"
        case .counting: "counting"
        case .colors: "colors"
        case .position: "position"
        case .colorAttribution: "color attribution"
        }
    }
}

/// Relative weights of the six families in a data set; they need not sum to 1.
public struct FamilyMixture: Hashable, Sendable {
    private let weights: [Double]

    /// A mixture with the given weights, each finite and >= 0, at least one > 0 (a caller's bug otherwise).
    ///
    /// The defaults favour the families that take longest to learn.
    public init(
        singleObject: Double = 0.08, twoObjects: Double = 0.15, counting: Double = 0.2, colors: Double = 0.12,
        position: Double = 0.25, colorAttribution: Double = 0.2
    ) {
        let weights = [singleObject, twoObjects, counting, colors, position, colorAttribution]
        precondition(
            weights.allSatisfy { $0.isFinite && $0 >= 0 } && weights.contains { $0 > 0 },
            "FamilyMixture: weights \(weights) must be finite, >= 0 and not all 0")
        self.weights = weights
    }

    /// The probability that a draw gives `family`.
    public func probability(of family: PromptFamily) -> Double {
        let total = weights.reduce(0, +)
        for (candidate, weight) in zip(PromptFamily.allCases, weights) where candidate == family {
            return weight / total
        }
        return 0
    }

    func draw(using random: inout SceneRandom) -> PromptFamily {
        var remaining = Double(random.uniform()) * weights.reduce(0, +)
        var drawn = PromptFamily.singleObject
        for (family, weight) in zip(PromptFamily.allCases, weights) where weight > 0 {
            drawn = family
            remaining -= weight
            if remaining < 0 { break }
        }
        return drawn
    }
}
