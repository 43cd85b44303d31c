// SPDX-License-Identifier: Apache-2.0
// Philox 4x32-10 against the known answers of Random123 (kat_vectors), and its distributions; values depend on the
// index only.

import CKernels
import Checkpoints
import Foundation
import TestKit
import Testing

@testable import Tensors

@Suite struct PhiloxTests {
    struct KnownAnswer: Sendable {
        let counter: [UInt32], key: [UInt32], answer: [UInt32]
    }

    /// Random123 1.14, examples/kat_vectors, the philox4x32 lines with 10 rounds.
    static let knownAnswers = [
        KnownAnswer(
            counter: [0, 0, 0, 0], key: [0, 0], answer: [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        KnownAnswer(
            counter: [UInt32](repeating: .max, count: 4), key: [.max, .max],
            answer: [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        KnownAnswer(
            counter: [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], key: [0xa409_3822, 0x299f_31d0],
            answer: [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ]

    @Test("blocks equal the published ones", arguments: knownAnswers)
    func blocks(_ known: KnownAnswer) {
        func joined(_ low: UInt32, _ high: UInt32) -> UInt64 { UInt64(high) << 32 | UInt64(low) }
        var block = [UInt32](repeating: 0, count: 4)
        bf_philox(
            joined(known.key[0], known.key[1]), joined(known.counter[2], known.counter[3]),
            joined(known.counter[0], known.counter[1]), &block, 1)
        #expect(block == known.answer)
    }

    @Test("consecutive blocks continue the counter past 32 bits")
    func carry() {
        var together = [UInt32](repeating: 0, count: 12), single = [UInt32](repeating: 0, count: 4)
        bf_philox(7, 9, 0xffff_ffff, &together, 3)
        bf_philox(7, 9, 0x1_0000_0000, &single, 1)
        #expect(Array(together[4..<8]) == single)
        #expect(Set(together).count == 12)
    }

    @Test("normals have mean 0, variance 1, kurtosis 3 and no correlation of neighbors")
    func moments() {
        var random = Philox(seed: 42)
        let n = 1 << 20
        let x = random.normal([n]).values.map(Double.init)
        func mean(_ f: (Int) -> Double) -> Double { (0..<n).reduce(0) { $0 + f($1) } / Double(n) }
        // Five standard errors for n draws: mean 1/√n, variance √(2/n), fourth moment √(96/n).
        let unit = 1 / Double(n).squareRoot()
        #expect(abs(mean { x[$0] }) < 5 * unit)
        #expect(abs(mean { x[$0] * x[$0] } - 1) < 5 * 2.0.squareRoot() * unit)
        #expect(abs(mean { pow(x[$0], 4) } - 3) < 5 * 96.0.squareRoot() * unit)
        for lag in 1...4 { #expect(abs(mean { x[$0] * x[($0 + lag) % n] }) < 5 * unit) }
    }

    @Test("uniforms fill [0, 1) evenly and never reach 1")
    func uniforms() {
        var random = Philox(seed: 43)
        let n = 1 << 18
        let x = random.uniform([n]).values
        #expect(x.allSatisfy { $0 >= 0 && $0 < 1 })
        var bins = [Int](repeating: 0, count: 16)
        for value in x { bins[Int(value * 16)] += 1 }
        // χ² with 15 degrees of freedom exceeds 44 once in ten thousand seeds.
        let expected = Double(n) / 16
        #expect(bins.reduce(0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected } < 44)
    }

    @Test("values do not depend on the division into calls")
    func cuts() {
        let n = 50_001
        var singleCall = Philox(seed: 5, stream: 6), random = singleCall
        let expected = singleCall.normal([n]).values
        var pieces: [Float] = []
        for length in [1, 2, 3, 4, 5, 4096, 0, 17, 30_000] { pieces += random.normal([length]).values }
        pieces += random.normal([n - pieces.count]).values
        #expect(pieces == expected)
        #expect(random.position == UInt64(n))
    }

    @Test("a stored generator resumes at its position")
    func resuming() throws {
        var random = Philox(seed: 11, stream: 3)
        _ = random.normal([37])
        var resumed = try JSONDecoder().decode(Philox.self, from: JSONEncoder().encode(random))
        #expect(resumed == random)
        #expect(resumed.normal([9]).values == random.normal([9]).values)
        #expect(resumed.nextUniform() == random.nextUniform())
    }

    @Test("skipToBlock advances to the next multiple of four, or stays at one")
    func blocks() {
        let found = (0...9).map { position in
            var random = Philox(seed: 1, position: UInt64(position))
            random.skipToBlock()
            return random.position
        }
        #expect(found == [0, 4, 4, 4, 4, 8, 8, 8, 8, 12])
        // The first normal value of a block is computed from its first two uniform words.
        var random = Philox(seed: 1)
        let words = random.uniform([2]).values.map(Double.init)
        random.position = 0
        let radius = (-2 * log(words[0] + 0x1p-24)).squareRoot()
        #expect(abs(Double(random.nextNormal()) - radius * cos(2 * .pi * words[1])) < 1e-5)
    }

    @Test("different seeds and streams give different numbers")
    func independence() {
        func draw(_ seed: UInt64, _ stream: UInt64) -> [Float] {
            var random = Philox(seed: seed, stream: stream)
            return random.normal([8]).values
        }
        #expect(draw(1, 0) != draw(2, 0) && draw(1, 0) != draw(1, 1) && draw(1, 1 << 40) != draw(1, 0))
    }

    @Test("integers below a bound have a uniform distribution", arguments: [1, 2, 7, 1000])
    func wholeNumbers(bound: Int) {
        var random = Philox(seed: 8)
        let draws = 50 * bound
        var counts = [Int](repeating: 0, count: bound)
        for _ in 0..<draws { counts[random.nextInt(below: bound)] += 1 }
        // Poisson with mean 50: five standard deviations.
        #expect(counts.allSatisfy { abs($0 - 50) < 36 })
    }
}
