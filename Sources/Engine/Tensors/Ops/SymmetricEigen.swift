// SPDX-License-Identifier: Apache-2.0
// Eigenvalues and eigenvectors of a symmetric matrix in double precision, by LAPACK's dsyevd. For statistics of a few
// hundred features; not differentiable. D order of the matrix.

import COpenBLAS

/// The decomposition A = Σ λ_i v_i v_iᵀ of a symmetric matrix.
public struct SymmetricEigen: Sendable {
    /// D, the order of the matrix.
    public let order: Int
    /// λ, ascending, `[D]`.
    public let values: [Double]
    /// `[D, D]`: row i is v_i, of length 1 and orthogonal to the other rows.
    public let vectors: [Double]

    /// Decomposes `matrix`; only the upper triangle is read.
    ///
    /// - Parameters:
    ///   - matrix: `[D, D]`, row-major, finite.
    ///   - order: D, > 0.
    /// - Precondition: `matrix` holds D² finite values.
    /// - Complexity: O(D³).
    public init(_ matrix: [Double], order: Int) {
        precondition(
            order > 0 && matrix.count == order * order,
            "SymmetricEigen: \(matrix.count) values for order \(order)")
        precondition(matrix.allSatisfy(\.isFinite), "SymmetricEigen: the matrix holds NaN or infinite values")
        _ = Threads.singleThreadedBLAS
        var vectors = matrix
        var values = [Double](repeating: 0, count: order)
        var (n, info) = (blasint(order), blasint(0))
        // Workspace sizes from the documentation of dsyevd for jobz = 'V'.
        var workCount = blasint(1 + 6 * order + 2 * order * order)
        var integerCount = blasint(3 + 5 * order)
        var work = [Double](repeating: 0, count: Int(workCount))
        var integers = [blasint](repeating: 0, count: Int(integerCount))
        // Row-major upper is column-major lower; LAPACK's eigenvector columns are our rows.
        var (job, triangle) = (CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "L")))
        dsyevd_(
            &job, &triangle, &n, &vectors, &n, &values, &work, &workCount, &integers, &integerCount, &info, 1,
            1)
        precondition(info == 0, "SymmetricEigen: dsyevd returned \(info) for order \(order)")
        self.order = order
        self.values = values
        self.vectors = vectors
    }

    /// Σ f(λ_i) v_i v_iᵀ, `[D, D]` row-major: the matrix function f(A).
    public func matrix(applying f: (Double) -> Double) -> [Double] {
        let mapped = values.map(f)
        var result = [Double](repeating: 0, count: order * order)
        vectors.withUnsafeBufferPointer { vectors in
            result.withUnsafeMutableBufferPointer { result in
                for (index, value) in mapped.enumerated() where value != 0 {
                    let start = index * order
                    for row in 0..<order {
                        let factor = value * vectors[start + row]
                        for column in 0..<order {
                            result[row * order + column] += factor * vectors[start + column]
                        }
                    }
                }
            }
        }
        return result
    }
}
