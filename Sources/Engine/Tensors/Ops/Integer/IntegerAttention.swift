// SPDX-License-Identifier: Apache-2.0
// Scaled dot-product attention on integers, the counterpart of integer products: inputs are quantized dynamically, sums
// are exact in int32, the softmax is computed in Float32. As in SageAttention (arXiv:2410.02367), keys lose their mean,
// which the softmax cancels; so do values. CKernelsInteger.h states the arithmetic.
// B batch, H heads, T queries, S keys, d channels of a head; heads are concatenated in the last axis.

import CKernels

/// The fewest keys for which layers compute attention on integers. Over fewer, such as the 77 tokens of a prompt, it is
/// a small part of the time.
public let integerAttentionMinimumKeys = 512

/// The most channels of a head for which attention is computed on integers.
public let integerAttentionMaximumHeadDim = Int(BF_INTEGER_MAX_HEAD_DIM)

/// softmax(scale · q kᵀ) v for each head, computed on integers: queries and keys in int8, values in 12 bits,
/// probabilities in 13. Not differentiable.
///
/// - Parameters:
///   - q: `[B, T, H·d]`.
///   - k: `[B, S, H·d]`.
///   - v: `[B, S, H·d]`.
///   - heads: H; divides the last axis.
///   - scale: factor of the scores, ≥ 0; nil: 1/√d.
/// - Returns: `[B, T, H·d]`; the same bits for every instruction set.
/// - Precondition: d is at most `integerAttentionMaximumHeadDim`.
public func integerScaledDotProductAttention(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, scale: Float? = nil
) -> Tensor {
    precondition(
        q.rank == 3 && k.rank == 3 && k.shape == v.shape && q.shape[0] == k.shape[0] && q.shape[2] == k.shape[2],
        "attention: q \(q.shape), k \(k.shape), v \(v.shape)")
    precondition(
        heads > 0 && q.shape[2] % heads == 0 && k.shape[1] > 0,
        "attention: keys \(k.shape), \(heads) heads")
    let (batch, queries, keys, channels) = (q.shape[0], q.shape[1], k.shape[1], q.shape[2])
    let headDim = channels / heads
    precondition(headDim <= integerAttentionMaximumHeadDim, "attention: \(headDim) channels of a head")
    let shape = bf_integer_attention(
        keys: keys, head_dim: headDim, stride: channels, scale: scale ?? 1 / Float(headDim).squareRoot())
    let output = Tensor(unsafeUninitialized: q.shape)
    let panelBytes = integerKernels.attention_panel_bytes(shape)
    let panels = Storage(byteCount: batch * heads * panelBytes)
    Threads.parallelFor(batch * heads) { range in
        for pair in range {
            let at = pair / heads * keys * channels + pair % heads * headDim
            integerKernels.attention_prepack(k.pointer + at, v.pointer + at, shape, panels.bytes + pair * panelBytes)
        }
    }
    let perTask = integerKernels.attention_queries
    let tasks = (queries + perTask - 1) / perTask
    Threads.parallelFor(batch * heads * tasks) { range in
        let scratch = Storage(byteCount: integerKernels.attention_scratch(shape))
        for task in range {
            let (pair, first) = (task / tasks, task % tasks * perTask)
            let at = (pair / heads * queries + first) * channels + pair % heads * headDim
            integerKernels.attention(
                q.pointer + at, panels.bytes + pair * panelBytes, output.pointer + at, min(perTask, queries - first),
                shape, scratch.pointer)
        }
        withExtendedLifetime(scratch) {}
    }
    withExtendedLifetime((q, k, v, panels)) {}
    return output
}
