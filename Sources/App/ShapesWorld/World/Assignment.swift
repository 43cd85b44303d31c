// SPDX-License-Identifier: Apache-2.0
//
// The ways to pair n required things with n found things, for the n <= 4 of this world: all permutations.

/// Exhaustive one-to-one assignments of at most four things.
enum Assignment {
    /// Entry n holds every permutation of 0..<n, the identity first.
    private static let permutations: [[[Int]]] = (0...SceneCaption.maximumCount).map { count in
        (0..<count).reduce([[]]) { partial, _ in
            partial.flatMap { taken in (0..<count).filter { !taken.contains($0) }.map { taken + [$0] } }
        }
    }

    /// The first permutation p of 0..<`count` that `isAccepted`, where p[i] is the thing that i is given.
    static func first(count: Int, where isAccepted: ([Int]) -> Bool) -> [Int]? {
        permutations[count].first(where: isAccepted)
    }
}
