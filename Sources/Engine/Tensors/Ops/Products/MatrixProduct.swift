// SPDX-License-Identifier: Apache-2.0
// Matrix products with OpenBLAS. Each OpenBLAS call uses one thread; products are divided over our own threads.

import COpenBLAS

/// Row-major `c = alpha · op(a) op(b) + beta · c`; op(a) is [m, k], op(b) [k, n].
@inline(__always)
func gemm(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Float,
    _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int, _ beta: Float,
    _ c: UnsafeMutablePointer<Float>, _ ldc: Int
) {
    guard m > 0, n > 0 else { return }
    _ = Threads.singleThreadedBLAS
    cblas_sgemm(
        CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
        blasint(m), blasint(n), blasint(k), alpha, a, blasint(max(lda, 1)), b, blasint(max(ldb, 1)), beta, c,
        blasint(ldc))
}

/// The CPU type of the OpenBLAS kernels in use, e.g. `Cooperlake`; the environment variable OPENBLAS_CORETYPE selects
/// it.
public var openBLASCoreName: String { String(cString: openblas_get_corename()) }

/// One product divided into bands of rows or columns, whichever is longer. The size of a band does not depend on the
/// number of threads, because the rounding of OpenBLAS depends on sizes.
func parallelGEMM(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>,
    _ b: UnsafePointer<Float>, _ c: UnsafeMutablePointer<Float>
) {
    let (lda, ldb) = (transposeA ? m : k, transposeB ? k : n)
    let (length, costOfOne) = m >= n ? (m, n * k) : (n, m * k)
    let band = max(128, (1 << 18) / max(costOfOne, 1))
    Threads.parallelFor((length + band - 1) / band) { bands in
        for index in bands {
            let (first, count) = (index * band, min(band, length - index * band))
            if m >= n {
                gemm(
                    transposeA, transposeB, count, n, k, 1, transposeA ? a + first : a + first * k, lda, b,
                    ldb, 0, c + first * n, n)
            } else {
                gemm(
                    transposeA, transposeB, m, count, k, 1, a, lda,
                    transposeB ? b + first * k : b + first, ldb, 0, c + first, n)
            }
        }
    }
}

/// `[..., M, K]` · `[..., K, N]` → `[..., M, N]`; leading axes are equal, or `b` is a single matrix.
public func matmul(_ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false) -> Tensor {
    precondition(
        a.rank >= 2 && b.rank >= 2, "matmul: lhs \(a.shape) · rhs \(b.shape): at least two axes are required")
    let (a0, a1) = (a.shape[a.rank - 2], a.shape[a.rank - 1]),
        (b0, b1) = (b.shape[b.rank - 2], b.shape[b.rank - 1])
    let (m, k) = transposeA ? (a1, a0) : (a0, a1)
    let (inner, n) = transposeB ? (b1, b0) : (b0, b1)
    precondition(k == inner, "matmul: lhs \(a.shape) · rhs \(b.shape): inner dimensions \(k) ≠ \(inner)")
    let lead = Array(a.shape.dropLast(2))
    let isShared = b.rank == 2 && a.rank > 2
    precondition(
        isShared || lead == Array(b.shape.dropLast(2)),
        "matmul: lhs \(a.shape) · rhs \(b.shape): leading axes differ")
    let batches = lead.reduce(1, *)
    let output = Tensor(unsafeUninitialized: lead + [m, n])
    let perB = isShared ? 0 : b0 * b1
    batchedGEMM(batches, transposeA, transposeB, m, n, k, a.pointer, a0 * a1, b.pointer, perB, output.pointer)
    let (x, y) = (a.detached(), b.detached())
    let needs = (a.node != nil, b.node != nil)
    return .custom("matmul", inputs: [a, b], output: output) { g in
        var ga: Tensor?, gb: Tensor?
        if needs.0 {
            // C = op(A) op(B): dA = dC op(B)ᵀ, or its transpose if A is transposed.
            ga =
                transposeA
                ? matmul(
                    y, g, transposeA: transposeB, transposeB: true, broadcastingLeft: isShared, lead: lead)
                : matmul(g, y, transposeA: false, transposeB: !transposeB)
        }
        if needs.1 {
            let perBatch =
                transposeB
                ? matmul(g, x, transposeA: true, transposeB: transposeA)
                : matmul(x, g, transposeA: !transposeA, transposeB: false)
            gb = isShared ? perBatch.sum(axes: Array(0..<lead.count)) : perBatch
        }
        return [ga, gb]
    }
}

/// matmul whose left operand may be a single matrix for all batches.
private func matmul(
    _ a: Tensor, _ b: Tensor, transposeA: Bool, transposeB: Bool, broadcastingLeft: Bool, lead: [Int]
) -> Tensor {
    let left = broadcastingLeft ? a.expanded(lead + a.shape) : a
    return matmul(left, b, transposeA: transposeA, transposeB: transposeB)
}

private func batchedGEMM(
    _ batches: Int, _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int,
    _ a: UnsafePointer<Float>,
    _ stepA: Int, _ b: UnsafePointer<Float>, _ stepB: Int, _ c: UnsafeMutablePointer<Float>
) {
    if batches == 1 {
        parallelGEMM(transposeA, transposeB, m, n, k, a, b, c)
        return
    }
    Threads.parallelFor(batches) { range in
        for i in range {
            gemm(
                transposeA, transposeB, m, n, k, 1, a + i * stepA, transposeA ? m : k, b + i * stepB,
                transposeB ? k : n, 0, c + i * m * n, n)
        }
    }
}
