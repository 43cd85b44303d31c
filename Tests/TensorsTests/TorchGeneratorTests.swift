// SPDX-License-Identifier: Apache-2.0
// Random numbers against torch.randn with CPU generators, bit by bit. The bits come from
// Tests/Fixtures/make_random_fixtures.py.

import Files
import TestKit
import Testing

@testable import Tensors

@Suite struct TorchGeneratorTests {
    private struct Sequence: Decodable {
        struct Draw: Decodable {
            let shape: [Int]
            let digest: UInt32
            let first, last: [UInt32]
        }
        let seed: String
        let draws: [Draw]
    }

    @Test("consecutive draws have the bits of torch.randn", .tags(.golden))
    func parity() throws {
        let sequences: [Sequence] = try fixture("torch-random", in: .module)
        #expect(sequences.count == 8)
        for sequence in sequences {
            var generator = TorchGenerator(seed: try #require(UInt64(sequence.seed)))
            for (number, draw) in sequence.draws.enumerated() {
                let label = "seed \(sequence.seed), draw \(number)"
                let tensor = generator.normal(draw.shape)
                #expect(tensor.shape == draw.shape, "\(label)")
                let bits = tensor.values.map(\.bitPattern)
                #expect(Array(bits.prefix(draw.first.count)) == draw.first, "\(label)")
                #expect(Array(bits.suffix(draw.last.count)) == draw.last, "\(label)")
                let bytes = bits.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
                #expect(CRC32.checksum(of: bytes) == draw.digest, "\(label)")
            }
        }
    }

    @Test("only the lower 32 bits of the seed count, and a copy goes on independently")
    func seeds() {
        var first = TorchGenerator(seed: 5), second = TorchGenerator(seed: 5 + 1 << 40)
        #expect(first.normal([20]).values == second.normal([20]).values)
        var copy = first
        #expect(first.normal([3]).values == copy.normal([3]).values)
        var other = TorchGenerator(seed: 6)
        #expect(other.normal([20]).values != second.normal([20]).values)
    }
}
