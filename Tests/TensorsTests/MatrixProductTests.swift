// SPDX-License-Identifier: Apache-2.0
// Matrix products: the same bits for any number of threads.

import Testing

@testable import Tensors

@Suite struct MatrixProductTests {
    @Test(
        "matrix products have the same bits for any number of threads",
        arguments: [[257, 64, 77], [100, 300, 511], [513, 513, 129], [1000, 17, 333], [7, 4097, 64]])
    func matrixProducts(sizes: [Int]) {
        let (m, n, k, before) = (sizes[0], sizes[1], sizes[2], Threads.count)
        defer { Threads.count = before }
        for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = normal(transposeA ? [k, m] : [m, k], stream: 1)
            let b = normal(transposeB ? [n, k] : [k, n], stream: 2)
            let results = [1, 2, 3, 7].map { threads in
                Threads.count = threads
                return matmul(a, b, transposeA: transposeA, transposeB: transposeB).values
            }
            #expect(results.dropFirst().allSatisfy { $0 == results[0] })
        }
    }
}
