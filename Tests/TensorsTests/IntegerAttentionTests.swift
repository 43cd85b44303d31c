// SPDX-License-Identifier: Apache-2.0
// Attention on integers: the bits of the scalar reference, the difference to attention on floats, and inputs that are
// not finite.

import CKernels
import Foundation
import TestKit
import Testing

@testable import Tensors

@Suite(.serialized) struct IntegerAttentionTests {
    /// One head: rows of q, k and v, `headDim` floats each, `stride` floats apart.
    private struct Head {
        let queries: Int
        let shape: bf_integer_attention
        let q, k, v: GuardedBuffer

        /// Random rows; `change` alters them.
        init(
            queries: Int, keys: Int, headDim: Int, padding: Int = 0, scale: Float = 0.3,
            change: (_ name: String, inout [Float]) -> Void = { _, _ in }
        ) throws {
            self.queries = queries
            let stride = headDim + padding
            shape = bf_integer_attention(keys: keys, head_dim: headDim, stride: stride, scale: scale)
            func rows(_ name: String, _ count: Int, stream: UInt64) throws -> GuardedBuffer {
                var values = normal([(count - 1) * stride + headDim], stream: stream).values
                change(name, &values)
                return try GuardedBuffer(values)
            }
            q = try rows("q", queries, stream: 1)
            k = try rows("k", keys, stream: 2)
            v = try rows("v", keys, stream: 3)
        }

        func attention(_ kernels: bf_integer_table) throws -> [Float] {
            var panels = [UInt8](repeating: 0xff, count: kernels.attention_panel_bytes(shape))
            var scratch = [UInt8](repeating: 0xff, count: kernels.attention_scratch(shape) + 1)
            return floats(q.count) { out in
                kernels.attention_prepack(k.pointer, v.pointer, shape, &panels)
                for first in stride(from: 0, to: queries, by: kernels.attention_queries) {
                    kernels.attention(
                        q.pointer + first * shape.stride, panels, out + first * shape.stride,
                        min(kernels.attention_queries, queries - first), shape, &scratch)
                }
            }
        }
    }

    @Test("results have the bits of the reference, for any shape", .slow, arguments: IntegerTable.available)
    func bits(table: IntegerTable) throws {
        let reference = try IntegerTable.reference()
        for (queries, keys, headDim, padding) in [
            (1, 1, 1, 0), (5, 7, 5, 2), (33, 119, 8, 0), (16, 120, 16, 24), (40, 121, 40, 40), (31, 500, 33, 1),
            (64, 256, 64, 0), (3, 250, 160, 3), (17, 128, 256, 0),
        ] {
            let head = try Head(queries: queries, keys: keys, headDim: headDim, padding: padding)
            let found = try head.attention(table.kernels), expected = try head.attention(reference)
            #expect(
                found.map(\.bitPattern) == expected.map(\.bitPattern),
                "\(queries) queries, \(keys) keys, \(headDim) channels")
        }
    }

    @Test(
        "scores of any size and sign, and rows that are zero, have the bits of the reference",
        arguments: IntegerTable.available)
    func extremes(table: IntegerTable) throws {
        let reference = try IntegerTable.reference()
        let changes: [(String, inout [Float]) -> Void] = [
            { _, values in values = values.map { $0 * 1e4 } },
            { _, values in values = values.map { $0 * 1e-20 } },
            { name, values in if name != "v" { values = values.map { _ in 0 } } },
            { name, values in if name == "v" { values = values.map { _ in 3 } } },
            // All scores of the last, incomplete tile are far below those of the first.
            { name, values in
                if name == "q" { values = values.map { _ in 1 } }
                if name == "k" { for at in values.indices where at >= 120 * 24 { values[at] = -50 } }
            },
            { name, values in
                if name == "q" { values = values.map { _ in 1 } }
                if name == "k" { for at in values.indices where at < 120 * 24 { values[at] = -50 } }
            },
        ]
        for (index, change) in changes.enumerated() {
            let head = try Head(queries: 19, keys: 125, headDim: 24, change: change)
            let found = try head.attention(table.kernels), expected = try head.attention(reference)
            #expect(found.map(\.bitPattern) == expected.map(\.bitPattern), "change \(index)")
            #expect(found.allSatisfy { $0.isFinite }, "change \(index)")
        }
    }

    @Test(
        "a key or value that is not finite makes all results NaN, a query only its own", arguments: IntegerTable.all)
    func notFinite(table: IntegerTable) throws {
        for value in [Float.nan, .infinity, -.infinity] {
            for name in ["q", "k", "v"] {
                let head = try Head(queries: 9, keys: 130, headDim: 8) { changed, values in
                    if changed == name { values[3 * 8 + 2] = value }
                }
                for (at, result) in try head.attention(table.kernels).enumerated() {
                    #expect(result.isNaN == (name != "q" || at / 8 == 3), "\(name) \(value), element \(at)")
                }
            }
        }
    }

    private func norm(_ x: Tensor) -> Double { x.values.reduce(0.0) { $0 + Double($1 * $1) }.squareRoot() }

    @Test("results equal attention on floats up to the rounding to int8", arguments: [(40, 8), (64, 2), (160, 1)])
    func accuracy(headDim: Int, heads: Int) {
        let channels = heads * headDim
        // Offsets and channels of different size, as in trained models.
        let size = uniform([1, 1, channels], 0.2, 2, stream: 4), offset = normal([1, 1, channels], stream: 5)
        let q = normal([2, 70, channels], stream: 1), k = normal([2, 600, channels], stream: 2) * size + offset
        let v = normal([2, 600, channels], stream: 3) * size + offset
        let found = integerScaledDotProductAttention(q, k, v, heads: heads)
        let expected = scaledDotProductAttention(q, k, v, heads: heads)
        // Less the mean of the values, which has no rounding: an average over 600 keys is close to it.
        let mean = expected - meanOverTokens(v)
        #expect(norm(found - expected) < 0.03 * norm(mean))
        #expect(norm(found - expected) > 1e-5 * norm(mean), "not quantized")
    }

    @Test("keys next to a strong one, and values next to a large one, keep their share", arguments: [512, 4096])
    func outliers(keys: Int) {
        let channels = 64
        // The first key has half of the weight and no value; the others differ by tile.
        let q = Tensor.full([1, 1, channels], 1)
        var scores = [Float](repeating: 0, count: keys * channels),
            values = [Float](repeating: -1, count: keys * channels)
        for c in 0..<channels {
            scores[c] = log(Float(keys - 1)) * Float(channels).squareRoot() / Float(channels)
            values[c] = 0
            for key in 1..<120 { values[key * channels + c] = 1 }
        }
        let k = Tensor(scores, shape: [1, keys, channels]), v = Tensor(values, shape: [1, keys, channels])
        let expected = scaledDotProductAttention(q, k, v, heads: 1)
        #expect(norm(integerScaledDotProductAttention(q, k, v, heads: 1) - expected) < 0.05 * norm(expected))
        // One value is 200 times as large as the others.
        let even = normal([1, 64, channels], stream: 6), small = normal([1, keys, channels], stream: 7)
        small.withUnsafeMutableBufferPointer { for c in 0..<channels { $0[c] *= 200 } }
        let wanted = scaledDotProductAttention(even, k * 0, small, heads: 1)
        #expect(norm(integerScaledDotProductAttention(even, k * 0, small, heads: 1) - wanted) < 0.05 * norm(wanted))
    }

    /// `[B, S, C]` -> `[B, 1, C]`.
    private func meanOverTokens(_ x: Tensor) -> Tensor {
        let (batch, tokens, channels) = (x.shape[0], x.shape[1], x.shape[2])
        var sums = [Float](repeating: 0, count: batch * channels)
        for (at, value) in x.values.enumerated() {
            sums[at / (tokens * channels) * channels + at % channels] += value / Float(tokens)
        }
        return Tensor(sums, shape: [batch, 1, channels])
    }

    @Test("the number of threads does not change the bits")
    func threads() {
        let before = Threads.count
        defer { Threads.count = before }
        let q = normal([2, 90, 48], stream: 1), k = normal([2, 530, 48], stream: 2)
        let results = [1, 2, 5].map { count in
            Threads.count = count
            return integerScaledDotProductAttention(q, k, k, heads: 3).values
        }
        #expect(results[0] == results[1] && results[0] == results[2])
    }
}
