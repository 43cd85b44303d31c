// SPDX-License-Identifier: Apache-2.0
// Pearson's and Spearman's coefficients compared with NumPy's, and undefined ones.

import Testing

@testable import Recipes

@Suite struct CorrelationTests {
    private let xs: [Double] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    private let ys: [Double] = [2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5]

    /// numpy 2.4.6: np.corrcoef(xs, ys)[0, 1]; the same of ranks = (v[None] < v[:, None]).sum(1) +
    /// ((v[None] == v[:, None]).sum(1) + 1) / 2.
    @Test("Pearson's and Spearman's coefficients are NumPy's, ties included") func reference() throws {
        let pearson = try #require(pearsonCorrelation(xs, ys))
        let spearman = try #require(spearmanCorrelation(xs, ys))
        #expect(abs(pearson - 0.09979900759721555) < 1e-14)
        #expect(abs(spearman - 0.14157968636401572) < 1e-14)
    }

    @Test("Spearman's coefficient of an increasing function is 1") func monotone() throws {
        let xs: [Double] = [5, 1, 3, 2, 4]
        let rising = try #require(spearmanCorrelation(xs, xs.map { $0 * $0 * $0 }))
        let falling = try #require(spearmanCorrelation(xs, xs.map { -$0 * $0 }))
        #expect(abs(rising - 1) < 1e-12 && abs(falling + 1) < 1e-12)
    }

    @Test("constant and single samples have no correlation, nor do those whose squares overflow")
    func degenerate() throws {
        #expect(spearmanCorrelation([1, 1, 1], [1, 2, 3]) == nil)
        #expect(spearmanCorrelation([1], [2]) == nil)
        #expect(pearsonCorrelation([], []) == nil)
        #expect(pearsonCorrelation([1e200, -1e200, 0], [1, 2, 3]) == nil)
        let ranked = try #require(spearmanCorrelation([1e200, -1e200, 0], [3, 1, 2]))
        #expect(abs(ranked - 1) < 1e-12)
    }
}
