// SPDX-License-Identifier: Apache-2.0
// The ways of choosing widths for a budget.

/// How widths are chosen.
public enum AllocationMethod: String, Codable, Sendable, CaseIterable {
    /// The paper's rule: one sensitivity threshold for all layers (arXiv 2406.04333, Algorithm 1, part 3).
    case threshold
    /// The least sum of sensitivities within the budget, proven.
    case optimal
}
