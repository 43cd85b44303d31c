// SPDX-License-Identifier: Apache-2.0
// Scaled dot-product attention that never holds more than a tile of scores (Dao et al. 2022, arXiv:2205.14135).
// B batch, H heads, T queries, S keys, d width of a head; heads lie interleaved in the last axis.

import CKernels
import Foundation

/// softmax(scale · q kᵀ) v per head.
///
/// - Parameters:
///   - q: `[B, T, H·d]`, as a projection gives it.
///   - k: `[B, S, H·d]`.
///   - v: `[B, S, H·d]`.
///   - heads: H; divides the last axis.
///   - causal: query t sees keys 0...t only; T = S.
///   - scale: 1/√d when nil.
/// - Returns: `[B, T, H·d]`.
public func scaledDotProductAttention(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, causal: Bool = false, scale: Float? = nil
) -> Tensor {
    precondition(
        q.rank == 3 && k.rank == 3 && k.shape == v.shape && q.shape[0] == k.shape[0]
            && q.shape[2] == k.shape[2],
        "attention: q \(q.shape), k \(k.shape), v \(v.shape)")
    precondition(
        q.shape[2] % heads == 0, "attention: width \(q.shape[2]) is not a multiple of \(heads) heads")
    precondition(!causal || q.shape[1] == k.shape[1], "attention: causal needs as many queries as keys")
    let width = q.shape[2] / heads
    let plan = AttentionTiles(
        batch: q.shape[0], heads: heads, queries: q.shape[1], keys: k.shape[1], width: width, causal: causal,
        scale: scale ?? 1 / Float(width).squareRoot())
    let (x, y, z) = (q.detached(), k.detached(), v.detached())
    let (output, logSumExp) = plan.forward(x, y, z)
    return .custom("attention", inputs: [q, k, v], output: output) { g in
        plan.backward(x, y, z, output: output, logSumExp: logSumExp, gradient: g)
    }
}

/// The cut of one attention into tiles.
private struct AttentionTiles: Sendable {
    let batch, heads, queries, keys, width: Int
    let causal: Bool
    let scale: Float
    let queryTile = 64
    let keyTile = 512

    private var stride: Int { heads * width }

    private func queryRange(_ tile: Int) -> Range<Int> {
        tile * queryTile..<min((tile + 1) * queryTile, queries)
    }

    /// Key tiles that the queries up to `last` can see.
    private func keyRanges(upTo last: Int) -> [Range<Int>] {
        let end = causal ? min(last, keys) : keys
        return Swift.stride(from: 0, to: end, by: keyTile).map { $0..<min($0 + keyTile, end) }
    }

    private func mask(
        _ scores: UnsafeMutablePointer<Float>, _ rows: Range<Int>, _ columns: Range<Int>, _ value: Float
    ) {
        guard causal else { return }
        for (i, row) in rows.enumerated() where row + 1 < columns.upperBound {
            let first = max(row + 1, columns.lowerBound) - columns.lowerBound
            (scores + i * columns.count + first).update(repeating: value, count: columns.count - first)
        }
    }

    func forward(_ q: Tensor, _ k: Tensor, _ v: Tensor) -> (output: Tensor, logSumExp: Tensor) {
        let output = Tensor(unsafeUninitialized: q.shape)
        let logSumExp = Tensor(unsafeUninitialized: [batch, heads, queries])
        let tiles = (queries + queryTile - 1) / queryTile
        Threads.parallelFor(batch * heads * tiles) { range in
            let scores = Storage(count: queryTile * min(keyTile, keys))
            let rows = Storage(count: 3 * queryTile)
            let (top, sum, correction) = (
                rows.pointer, rows.pointer + queryTile, rows.pointer + 2 * queryTile
            )
            for task in range {
                let (pair, tile) = (task / tiles, task % tiles)
                let (image, head) = (pair / heads, pair % heads)
                let range = queryRange(tile)
                let to = output.pointer + (image * queries + range.lowerBound) * stride + head * width
                let from = q.pointer + (image * queries + range.lowerBound) * stride + head * width
                top.update(repeating: -.infinity, count: range.count)
                sum.update(repeating: 0, count: range.count)
                for (index, columns) in keyRanges(upTo: range.upperBound).enumerated() {
                    let start = (image * keys + columns.lowerBound) * stride + head * width
                    gemm(
                        false, true, range.count, columns.count, width, 1, from, stride, k.pointer + start,
                        stride, 0,
                        scores.pointer, columns.count)
                    mask(scores.pointer, range, columns, -.infinity)
                    kernels.softmax_tile(
                        scores.pointer, range.count, columns.count, columns.count, scale, top, sum, correction
                    )
                    if index > 0 { kernels.scale_rows(to, range.count, width, stride, correction) }
                    gemm(
                        false, false, range.count, width, columns.count, 1, scores.pointer, columns.count,
                        v.pointer + start, stride, index > 0 ? 1 : 0, to, stride)
                }
                for row in 0..<range.count {
                    logSumExp.pointer[pair * queries + range.lowerBound + row] = top[row] + log(sum[row])
                    correction[row] = 1 / sum[row]
                }
                kernels.scale_rows(to, range.count, width, stride, correction)
            }
        }
        return (output, logSumExp)
    }

    func backward(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, output: Tensor, logSumExp: Tensor, gradient: Tensor
    ) -> [Tensor?] {
        let gq = Tensor.zeros(q.shape), gk = Tensor.zeros(k.shape), gv = Tensor.zeros(v.shape)
        let tiles = (queries + queryTile - 1) / queryTile
        Threads.parallelFor(batch * heads) { range in
            let scores = Storage(count: 2 * queryTile * min(keyTile, keys))
            let delta = Storage(count: queryTile)
            for pair in range {
                let (image, head) = (pair / heads, pair % heads)
                for tile in 0..<tiles {
                    let range = queryRange(tile)
                    let at = (image * queries + range.lowerBound) * stride + head * width
                    for row in 0..<range.count {
                        delta.pointer[row] = kernels.dot(
                            gradient.pointer + at + row * stride, output.pointer + at + row * stride, width)
                    }
                    for columns in keyRanges(upTo: range.upperBound) {
                        let (m, n) = (range.count, columns.count)
                        let start = (image * keys + columns.lowerBound) * stride + head * width
                        let (p, gp) = (scores.pointer, scores.pointer + m * n)
                        gemm(
                            false, true, m, n, width, 1, q.pointer + at, stride, k.pointer + start, stride, 0,
                            p, n)
                        kernels.softmax_restore(
                            p, m, n, n, scale, logSumExp.pointer + pair * queries + range.lowerBound)
                        mask(p, range, columns, 0)
                        gemm(
                            true, false, n, width, m, 1, p, n, gradient.pointer + at, stride, 1,
                            gv.pointer + start, stride)
                        gemm(
                            false, true, m, n, width, 1, gradient.pointer + at, stride, v.pointer + start,
                            stride, 0, gp, n)
                        kernels.softmax_tile_grad(p, gp, m, n, n, scale, delta.pointer)
                        gemm(
                            false, false, m, width, n, 1, gp, n, k.pointer + start, stride, 1,
                            gq.pointer + at, stride)
                        gemm(
                            true, false, n, width, m, 1, gp, n, q.pointer + at, stride, 1, gk.pointer + start,
                            stride)
                    }
                }
            }
        }
        return [gq, gk, gv]
    }
}
