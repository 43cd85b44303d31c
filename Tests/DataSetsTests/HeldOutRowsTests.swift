// SPDX-License-Identifier: Apache-2.0
// The held-out part of a stored set: chosen by the seed, never drawn for training, each sample once for validation.

import Tensors
import TestKit
import Testing

@testable import DataSets

@Suite struct HeldOutRowsTests {
    @Test("held-out rows are distinct, and a function of their number, that of all rows, and the seed")
    func choice() {
        let rows = HeldOutRows(12, of: 100, seed: 7).rows
        #expect(rows.count == 12 && Set(rows).count == 12 && rows == rows.sorted())
        #expect(rows.allSatisfy { (0..<100).contains($0) })
        #expect(HeldOutRows(12, of: 100, seed: 7).rows == rows)
        #expect(HeldOutRows(12, of: 100, seed: 8).rows != rows)
        #expect(HeldOutRows(3, of: 4, seed: 1).rows.count == 3)
    }

    @Test("every row is held out equally often")
    func uniform() {
        var counts = [Int](repeating: 0, count: 10)
        for seed in 0..<4000 {
            for row in HeldOutRows(3, of: 10, seed: UInt64(seed)).rows { counts[row] += 1 }
        }
        // Binomial with n = 4000, p = 0.3: a deviation of 29.
        #expect(counts.allSatisfy { abs($0 - 1200) < 150 }, "\(counts)")
    }

    @Test("positions enumerate the rows that are not held out", arguments: 1..<20)
    func remaining(count: Int) {
        let heldOut = HeldOutRows(count, of: 20, seed: 3)
        let rest = (0..<20 - count).map(heldOut.remaining)
        #expect(rest == (0..<20).filter { !heldOut.rows.contains($0) })
    }

    /// A set whose values are the index of the row.
    private func numbered(_ count: Int) -> StoredDistillationData {
        let values = Tensor((0..<count).map(Float.init), shape: [count, 1, 1, 1])
        return StoredDistillationData(
            latents: values, encoderHiddenStates: values.reshaped([count, 1, 1]),
            emptyHiddenStates: Tensor([-1], shape: [1, 1, 1]))
    }

    @Test("training draws all other samples and never a held-out one, from memory and from a file")
    func disjoint() throws {
        let folder = try TemporaryFolder(), data = numbered(24)
        let heldOut = Set(HeldOutRows(5, of: 24, seed: 11).rows.map(Float.init))
        let (training, validation) = data.split(validation: 5, seed: 11)
        #expect(training.sampleCount == 24)
        var drawn = Set<Float>()
        for step in 0..<200 {
            var random = Philox(seed: 11, stream: UInt64(step))
            let batch = try training.batch(step * 4..<(step + 1) * 4, textDropping: 0, random: &random)
            #expect(batch.samples.values == batch.encoderHiddenStates.values)
            drawn.formUnion(batch.samples.values)
        }
        #expect(drawn.isDisjoint(with: heldOut) && drawn.count == 19)
        var random = Philox(seed: 0)
        let all = try validation.batch(0..<5, textDropping: 0, random: &random).samples.values
        #expect(Set(all) == heldOut && all.count == 5)
        let parts = try [0..<2, 2..<5].flatMap {
            var random = Philox(seed: 0)
            return try validation.batch($0, textDropping: 0, random: &random).samples.values
        }
        #expect(parts == all)

        let config = try TinyModel.config()
        var values = Philox(seed: 2)
        try writeDataSets(
            [
                "latents": values.normal([24, 3, 8, 8]),
                "encoder_hidden_states": values.normal([24, 2, TinyModel.crossAttentionDim]),
                "empty_hidden_states": values.normal([1, 2, TinyModel.crossAttentionDim]),
            ], to: folder.file("set.h5"))
        let stored = try StoredDistillationData(contentsOf: folder.file("set.h5"), for: config)
        let ofFile = stored.split(validation: 5, seed: 11).validation
        var again = Philox(seed: 0)
        let batch = try ofFile.batch(0..<5, textDropping: 0, random: &again)
        let rows = try HeldOutRows(5, of: 24, seed: 11).rows.flatMap { try stored.latents.row($0).values }
        #expect(batch.samples.values == rows)
    }

    @Test("which captions are dropped in validation does not depend on the size of batches")
    func textDropping() throws {
        let validation = numbered(400).split(validation: 300, seed: 1).validation
        func states(_ size: Int) throws -> [Float] {
            try stride(from: 0, to: 300, by: size).flatMap { first in
                var random = Philox(seed: 5, stream: 9, position: UInt64(first))
                return try validation.batch(first..<first + size, textDropping: 0.3, random: &random)
                    .encoderHiddenStates.values
            }
        }
        let whole = try states(300)
        #expect(try states(50) == whole && states(1) == whole)
        let dropped = whole.count { $0 == -1 }
        #expect((60...120).contains(dropped))
    }
}
