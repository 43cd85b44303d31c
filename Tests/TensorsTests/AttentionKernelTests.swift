// SPDX-License-Identifier: Apache-2.0
// Attention kernels of every table against the scalar reference: sizes that are not multiples of blocks, causal masks,
// extreme scores. The tested head is the second of two; its last token ends at an inaccessible page.

import CKernels
import TestKit
import Testing

@testable import Tensors

/// Sizes of one head.
struct AttentionCase: Sendable, CustomTestStringConvertible {
    var queries, keys, headDim: Int
    var causal = false

    var testDescription: String { "T \(queries) S \(keys) d \(headDim)\(causal ? " causal" : "")" }

    /// Sizes around vectors, register blocks (6, 9, 14) and tiles of keys (120, 126), and those of SD 1.5.
    static let all: [AttentionCase] =
        [1, 3, 8, 15, 16, 17, 24, 40, 65, 80].map { AttentionCase(queries: 5, keys: 7, headDim: $0) }
        + [1, 2, 6, 13, 14, 15, 77, 119, 120, 126, 127, 253].map {
            AttentionCase(queries: 9, keys: $0, headDim: 5)
        }
        + [1, 7, 8, 9, 16, 31, 32, 33, 67].map { AttentionCase(queries: $0, keys: 20, headDim: 12) }
        + [1, 2, 15, 33, 130, 260].map {
            AttentionCase(queries: $0, keys: $0, headDim: 6, causal: true)
        }
}

/// The results of one head.
private struct AttentionResults {
    var output: [Float] = [], logSumExp: [Float] = [], gq: [Float] = [], gk: [Float] = [], gv: [Float] = []
}

/// Forward and backward pass of one head with d channels, the second of two.
private func attend(
    _ kernels: bf_kernel_table, _ size: AttentionCase, q: [Float], k: [Float], v: [Float], gradient: [Float],
    scale: Float = 0.7, at statistics: AttentionResults? = nil
) throws -> AttentionResults {
    let (d, stride) = (size.headDim, 2 * size.headDim)
    let shape = bf_attention(keys: size.keys, head_dim: d, stride: stride, scale: scale, causal: size.causal)
    let buffers = try [q, k, v, gradient].map { try GuardedBuffer($0) }
    defer { withExtendedLifetime(buffers) {} }
    let heads: [UnsafePointer<Float>] = buffers.map { UnsafePointer($0.pointer + d) }
    let panels = [heads[1], heads[2]].map { head in
        floats(size.keys * d) { kernels.attention_prepack(head, $0, shape) }
    }
    let padded = (d + kernels.vector_width - 1) / kernels.vector_width * kernels.vector_width
    var result = AttentionResults()
    func forTiles(_ body: (_ first: Int, _ count: Int) -> Void) {
        for first in Swift.stride(from: 0, to: size.queries, by: kernels.attention_queries) {
            body(first, min(kernels.attention_queries, size.queries - first))
        }
    }
    _ = floats(kernels.attention_scratch(d)) { scratch in
        result.logSumExp = floats(size.queries) { logSumExp in
            result.output = floats(size.queries * stride) { output in
                forTiles { first, count in
                    kernels.attention_forward(
                        heads[0] + first * stride, panels[0], heads[2], output + d + first * stride,
                        logSumExp + first, first, count, shape, scratch)
                }
            }
        }
    }
    let known = statistics ?? result
    _ = floats(kernels.attention_scratch(d)) { scratch in
        result.gv = floats(size.keys * padded) { gv in
            result.gk = floats(size.keys * padded) { gk in
                result.gq = floats(size.queries * stride) { gq in
                    known.output.withUnsafeBufferPointer { output in
                        guard let output = output.baseAddress else { return }
                        forTiles { first, count in
                            kernels.attention_backward(
                                heads[0] + first * stride, heads[1], panels[0], panels[1],
                                output + d + first * stride, [Float](known.logSumExp[first...]),
                                heads[3] + first * stride, gq + d + first * stride, gk, gv, first, count,
                                shape,
                                scratch)
                        }
                    }
                }
            }
        }
    }
    func unpadded(_ rows: [Float]) -> [Float] {
        (0..<size.keys).flatMap { rows[$0 * padded..<$0 * padded + d] }
    }
    (result.gk, result.gv) = (unpadded(result.gk), unpadded(result.gv))
    for i in 0..<size.queries {
        for tensor in [result.output, result.gq] {
            #expect(tensor[i * stride..<i * stride + d].allSatisfy { $0 == 0 }, "wrote to another head")
        }
    }
    return result
}

@Suite struct AttentionKernelTests {
    @Test(
        "attention and its gradients agree with the scalar reference", arguments: KernelTable.available,
        AttentionCase.all)
    func agreement(table: KernelTable, size: AttentionCase) throws {
        let stride = 2 * size.headDim
        let q = normal([size.queries * stride], stream: 1).values
        let k = normal([size.keys * stride], stream: 2).values
        let v = normal([size.keys * stride], stream: 3).values
        let g = normal([size.queries * stride], stream: 4).values
        let expected = try attend(reference, size, q: q, k: k, v: v, gradient: g)
        let got = try attend(table.kernels, size, q: q, k: k, v: v, gradient: g, at: expected)
        let scale = Double(size.headDim).squareRoot()
        expectClose(got.output, expected.output, .attention.scaled(by: scale), "output")
        expectClose(got.logSumExp, expected.logSumExp, .attention.scaled(by: scale), "log-sum-exp")
        let limit = Tolerance.attentionGradient.scaled(by: scale)
        expectClose(got.gq, expected.gq, limit, "gradient of q")
        expectClose(got.gk, expected.gk, limit, "gradient of k")
        expectClose(got.gv, expected.gv, limit, "gradient of v")
    }

    @Test("scores that differ widely neither overflow nor lose the largest one", arguments: KernelTable.available)
    func extremes(table: KernelTable) throws {
        let size = AttentionCase(queries: 1, keys: 200, headDim: 1)
        // Keys grow along the tiles, so that every tile has a new maximum; the last key gets probability 1.
        let k: [Float] = (0..<400).map { $0 % 2 == 0 ? 0 : Float($0 / 2) * 100 }
        let v: [Float] = (0..<400).map { $0 % 2 == 0 ? 0 : Float($0 / 2) }
        let got = try attend(table.kernels, size, q: [0, 1], k: k, v: v, gradient: [0, 1], scale: 1)
        #expect(got.output[1] == 199)
        #expect(abs(got.logSumExp[0] - 19900) < 0.01)
        #expect(got.gv[199] == 1 && got.gv[..<199].allSatisfy { $0 == 0 })
        #expect(got.gq[1] == 0 && got.gk.allSatisfy { $0 == 0 })
    }

    @Test("later keys have no effect under a causal mask", arguments: KernelTable.available)
    func masked(table: KernelTable) throws {
        let size = AttentionCase(queries: 40, keys: 40, headDim: 2, causal: true)
        let q = normal([160], stream: 1).values, g = normal([160], stream: 4).values
        let k = normal([160], stream: 2).values, v = normal([160], stream: 3).values
        let whole = try attend(table.kernels, size, q: q, k: k, v: v, gradient: g)
        // Other keys and values from the 21st token on: the first 20 outputs keep their bits.
        let otherK = Array(k[..<80]) + normal([80], stream: 5).values.map { $0 * 30 }
        let otherV = Array(v[..<80]) + normal([80], stream: 6).values.map { $0 * 1e30 }
        let changed = try attend(table.kernels, size, q: q, k: otherK, v: otherV, gradient: g)
        #expect(whole.output[..<80] == changed.output[..<80])
        #expect(whole.output[80...] != changed.output[80...])
    }
}
