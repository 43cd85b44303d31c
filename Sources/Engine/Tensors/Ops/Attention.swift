// SPDX-License-Identifier: Apache-2.0
// Scaled dot-product attention that computes scores tile by tile (Dao et al. 2022, arXiv:2205.14135).
// B batch, H heads, T queries, S keys, d channels of a head; heads are concatenated in the last axis.

import CKernels

/// softmax(scale · q kᵀ) v for each head.
///
/// - Parameters:
///   - q: `[B, T, H·d]`.
///   - k: `[B, S, H·d]`.
///   - v: `[B, S, H·d]`.
///   - heads: H; divides the last axis.
///   - causal: query t attends to keys 0...t only; requires T = S.
///   - scale: factor of the scores; nil: 1/√d.
/// - Returns: `[B, T, H·d]`.
public func scaledDotProductAttention(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, causal: Bool = false, scale: Float? = nil
) -> Tensor {
    precondition(
        q.rank == 3 && k.rank == 3 && k.shape == v.shape && q.shape[0] == k.shape[0]
            && q.shape[2] == k.shape[2],
        "attention: q \(q.shape), k \(k.shape), v \(v.shape)")
    precondition(
        heads > 0 && q.shape[2] % heads == 0,
        "attention: \(q.shape[2]) channels are not a multiple of \(heads) heads")
    precondition(k.shape[1] > 0, "attention: keys \(k.shape): at least one key is required")
    precondition(
        !causal || q.shape[1] == k.shape[1],
        "attention: causal: expected as many queries as keys, found q \(q.shape), k \(k.shape)")
    let headDim = q.shape[2] / heads
    let heads = AttentionHeads(
        batch: q.shape[0], heads: heads, queries: q.shape[1], headDim: headDim,
        shape: bf_attention(
            keys: k.shape[1], head_dim: headDim, stride: q.shape[2],
            scale: scale ?? 1 / Float(headDim).squareRoot(), causal: causal))
    let (x, y, z) = (q.detached(), k.detached(), v.detached())
    let (output, logSumExp) = heads.forward(x, y, z)
    return .custom("attention", inputs: [q, k, v], output: output) { g in
        heads.backward(x, y, z, output: output, logSumExp: logSumExp, gradient: g)
    }
}

/// All heads of all images of one attention.
private struct AttentionHeads: Sendable {
    let batch, heads, queries, headDim: Int
    let shape: bf_attention

    private var tiles: Int { (queries + kernels.attention_queries - 1) / kernels.attention_queries }

    /// The offset of head `pair` % H of batch element `pair` / H in a tensor `[B, tokens, H·d]`.
    private func start(of pair: Int, tokens: Int) -> Int {
        pair / heads * tokens * shape.stride + pair % heads * headDim
    }

    private func queryRange(_ tile: Int) -> Range<Int> {
        tile * kernels.attention_queries..<min((tile + 1) * kernels.attention_queries, queries)
    }

    private func panels(_ x: Tensor) -> Storage {
        let result = Storage(count: batch * heads * shape.keys * headDim)
        Threads.parallelFor(batch * heads, grain: Threads.rowGrain(shape.keys * headDim)) {
            for pair in $0 {
                kernels.attention_prepack(
                    x.pointer + start(of: pair, tokens: shape.keys),
                    result.pointer + pair * shape.keys * headDim, shape)
            }
        }
        return result
    }

    func forward(_ q: Tensor, _ k: Tensor, _ v: Tensor) -> (output: Tensor, logSumExp: Tensor) {
        let output = Tensor(unsafeUninitialized: q.shape)
        let logSumExp = Tensor(unsafeUninitialized: [batch, heads, queries])
        let keyPanels = panels(k)
        Threads.parallelFor(batch * heads * tiles) { range in
            let scratch = Storage(count: kernels.attention_scratch(headDim))
            for task in range {
                let (pair, tile) = (task / tiles, task % tiles)
                let range = queryRange(tile)
                let at = start(of: pair, tokens: queries) + range.lowerBound * shape.stride
                kernels.attention_forward(
                    q.pointer + at, keyPanels.pointer + pair * shape.keys * headDim,
                    v.pointer + start(of: pair, tokens: shape.keys), output.pointer + at,
                    logSumExp.pointer + pair * queries + range.lowerBound, range.lowerBound, range.count,
                    shape,
                    scratch.pointer)
            }
            withExtendedLifetime(scratch) {}
        }
        withExtendedLifetime(keyPanels) {}
        return (output, logSumExp)
    }

    func backward(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, output: Tensor, logSumExp: Tensor, gradient: Tensor
    ) -> [Tensor?] {
        let gq = Tensor(unsafeUninitialized: q.shape)
        let gk = Tensor(unsafeUninitialized: k.shape), gv = Tensor(unsafeUninitialized: v.shape)
        let keyPanels = panels(k), valuePanels = panels(v)
        let paddedDim = (headDim + kernels.vector_width - 1) / kernels.vector_width * kernels.vector_width
        // All queries of a head add to the gradients of its keys and values in a fixed order.
        Threads.parallelFor(batch * heads) { range in
            let scratch = Storage(count: kernels.attention_scratch(headDim))
            let sums = Storage(count: 2 * shape.keys * paddedDim)
            let (sumsOfKeys, sumsOfValues) = (sums.pointer, sums.pointer + shape.keys * paddedDim)
            for pair in range {
                let keyStart = start(of: pair, tokens: shape.keys)
                sums.pointer.update(repeating: 0, count: 2 * shape.keys * paddedDim)
                for tile in 0..<tiles {
                    let range = queryRange(tile)
                    let at = start(of: pair, tokens: queries) + range.lowerBound * shape.stride
                    kernels.attention_backward(
                        q.pointer + at, k.pointer + keyStart,
                        keyPanels.pointer + pair * shape.keys * headDim,
                        valuePanels.pointer + pair * shape.keys * headDim, output.pointer + at,
                        logSumExp.pointer + pair * queries + range.lowerBound, gradient.pointer + at,
                        gq.pointer + at, sumsOfKeys, sumsOfValues, range.lowerBound, range.count, shape,
                        scratch.pointer)
                }
                for key in 0..<shape.keys {
                    let to = keyStart + key * shape.stride
                    (gk.pointer + to).update(from: sumsOfKeys + key * paddedDim, count: headDim)
                    (gv.pointer + to).update(from: sumsOfValues + key * paddedDim, count: headDim)
                }
            }
            withExtendedLifetime((scratch, sums)) {}
        }
        withExtendedLifetime((keyPanels, valuePanels)) {}
        return [gq, gk, gv]
    }
}
