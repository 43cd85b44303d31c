// SPDX-License-Identifier: Apache-2.0
// The evaluation prompts are pinned, since scores are comparable only on the same prompts.

import Testing

@testable import ShapesWorld

@Suite struct PromptSuiteTests {
    @Test("all families have the same number of prompts, and captions are repeated equally often")
    func balance() {
        let suite = PromptSuite(promptsPerFamily: 40)
        #expect(suite.prompts.count == 240)
        #expect(
            suite.prompts.map(\.caption.family)
                == PromptFamily.allCases.flatMap { Array(repeating: $0, count: 40) })
        for family in PromptFamily.allCases {
            let prompts = suite.prompts(of: family)
            let occurrences = Dictionary(grouping: prompts, by: \.caption).mapValues(\.count)
            let counts = occurrences.values.sorted()
            #expect(occurrences.count == min(40, CaptionCatalog.captions(of: family).count))
            #expect((counts.last ?? 0) - (counts.first ?? 0) <= 1, "\(family)")
        }
        #expect(suite.prompts(of: .position).filter { $0.caption.objects[0].color == nil }.count == 20)
    }

    @Test("seeds are distinct and below 2^53, so that JSON represents them exactly")
    func seeds() {
        let seeds = PromptSuite(promptsPerFamily: 100).prompts.map(\.seed)
        #expect(Set(seeds).count == seeds.count)
        #expect(seeds.allSatisfy { $0 < 1 << 53 })
    }

    @Test("a longer suite starts with the prompts of a shorter one", arguments: PromptFamily.allCases)
    func prefix(family: PromptFamily) {
        let short = PromptSuite(promptsPerFamily: 7).prompts(of: family)
        let long = PromptSuite(promptsPerFamily: 50).prompts(of: family)
        #expect(Array(long.prefix(7)) == short)
        #expect(PromptSuite(promptsPerFamily: 7, seed: 1).prompts(of: family) != short)
    }

    @Test("the first prompt of every family is pinned")
    func pinned() {
        let suite = PromptSuite(promptsPerFamily: 1)
        #expect(suite.prompts.map(\.caption.text) == Self.pinnedTexts)
        #expect(suite.prompts.map(\.seed) == Self.pinnedSeeds)
    }

    @Test("the FNV-1a digest of the default suite is pinned")
    func digest() {
        let listing = PromptSuite().prompts.map { "\($0.caption)\t\($0.seed)\n" }.joined()
        let digest = listing.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { state, byte in
            (state ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        #expect(digest == Self.pinnedDigest)
    }
    private static let pinnedDigest: UInt64 = 10_845_012_590_141_835_806
    private static let pinnedTexts = [
        "a square", "a cross and a square", "two squares", "a magenta square", "a circle above a square",
        "a yellow triangle and a cyan cross",
    ]
    private static let pinnedSeeds: [UInt64] = [
        2_247_336_719_173_245, 647_912_843_716_561, 7_751_837_983_358_568, 3_548_072_626_657_613,
        7_078_289_879_278_257, 5_620_691_184_018_097,
    ]
}
